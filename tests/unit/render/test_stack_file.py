"""Stack files, read as the engine reads them.

Expected values come from Pulumi's own Go code (SDK 3.272.0, config.Map and gopkg.in/yaml.v3), which was given
the same text.
"""

import json
import re
from pathlib import Path

import pytest

from render.passphrase import PassphraseError
from render.stack_file import StackConfig, StackFileError, encrypt, read
from tests.unit.render.test_passphrase import PULUMI_SALT, PULUMI_VALUE

SCALARS = [
    ("1.50", "1.5"),
    ("yes", "yes"),
    ("on", "on"),
    ("0x1F", "31"),
    ("-0x10", "-16"),
    ("010", "8"),
    ("-012", "-10"),
    ("0_7", "7"),
    ("08", "8"),
    ("00", "0"),
    ("0o17", "15"),
    ("0b11", "3"),
    ("null", ""),
    ("", ""),
    ("~", ""),
    ('"007"', "007"),
    ("1_000", "1000"),
    ("1__0", "10"),
    ("1_0.5", "10.5"),
    ("1e3", "1000"),
    ("1e21", "1e+21"),
    ("0.0000001", "1e-7"),
    ("0.000001", "0.000001"),
    ("123456.789e-3", "123.456789"),
    ("123456789012345678901234567890", "1.2345678901234568e+29"),
    ("100000000000000000000000.0", "1e+23"),
    ("18446744073709551615", "18446744073709551615"),
    ('"true"', "true"),
    ("True", "true"),
    ("-0", "0"),
    ("+5", "5"),
    (".5", "0.5"),
    ("-.5", "-0.5"),
    ("5.", "5"),
    ("1.0", "1"),
    ("0.1", "0.1"),
    ("1:30", "1:30"),
    ("!!str 12", "12"),
    ('"=x"', "=x"),
    ("._", "._"),
    ('"\\u2028 é"', "\u2028 é"),
    ("|\n    multi\n    line", "multi\nline\n"),
    ("[]", "[]"),
    ("{}", "{}"),
    (
        '{b: 1, a: [true, ~, "x<y>&"], z: 1.0, y: 1e-7, w: 12345678901234567, v: 1e16}',
        '{"a":[true,null,"x\\u003cy\\u003e\\u0026"],"b":1,"v":10000000000000000,"w":12345678901234567,"y":1e-7,"z":1}',
    ),
    ("{not: {secure: 5}, also: {secure: x, more: y}}", '{"also":{"more":"y","secure":"x"},"not":{"secure":5}}'),
]


def no_passphrase() -> str:
    raise AssertionError("the passphrase is not needed")


def stack(directory: Path, content: str, project: str = "name: flatline\n") -> Path:
    (directory / "Pulumi.yaml").write_text(project)
    path = directory / "Pulumi.dev.yaml"
    path.write_text(content)
    return path


def given(directory: Path, content: str, project: str = "name: flatline\n") -> StackConfig:
    """What is read of a stack file without secrets."""
    return read(stack(directory, content, project), no_passphrase)


class TestScalars:
    @pytest.mark.parametrize(("written", "expected"), SCALARS)
    def test_as_the_engine(self, tmp_path: Path, written: str, expected: str) -> None:
        config = given(tmp_path, f"config:\n  it: {written}\n")
        assert config.config == {"flatline:it": expected}
        assert config.secret_keys == ()

    def test_anchors(self, tmp_path: Path) -> None:
        """Whose names may be used again."""
        content = "config:\n  a: &n {x: 2}\n  b: &n {x: 3}\n  c: *n\n  d: &n 5\n  e: [*n, &n 6, *n]\n"
        values = ['{"x":2}', '{"x":3}', '{"x":3}', "5", "[5,6,6]"]
        assert given(tmp_path, content).config == {
            f"flatline:{name}": value for name, value in zip("abcde", values, strict=True)
        }

    def test_lines_are_those_of_the_file(self, tmp_path: Path) -> None:
        config = given(tmp_path, "config:\n  a:\n    b: 1\n  flatline:c:\n    - d: 2\n")
        assert config.lines == {"flatline:a": 2, "flatline:a.b": 3, "flatline:c": 4, "flatline:c.0.d": 5}

    @pytest.mark.parametrize("written", ["2024-01-01", "2024-01-01T00:00:00Z", ".inf", "-.Inf", ".nan", "[2024-1-2]"])
    def test_dates_and_what_is_not_a_number_must_be_quoted(self, tmp_path: Path, written: str) -> None:
        with pytest.raises(StackFileError, match=r"Pulumi\.dev\.yaml:2: config\.it.*quote it"):
            given(tmp_path, f"config:\n  it: {written}\n")


class TestKeys:
    def test_namespaces(self, tmp_path: Path) -> None:
        content = "config:\n  own: 1\n  flatline:full: 2\n  aws:region: us\n  ns:config:old: 3\n"
        config = given(tmp_path, content).config
        assert config == {"flatline:own": "1", "flatline:full": "2", "aws:region": "us", "ns:old": "3"}
        assert list(config) == sorted(config)

    def test_project_and_stack_names(self, tmp_path: Path) -> None:
        stack(tmp_path, "", project="name: other\n")
        path = (tmp_path / "Pulumi.dev.yaml").rename(tmp_path / "Pulumi.my-stack.eu.yaml")
        config = read(path, no_passphrase)
        assert (config.project, config.stack, config.config) == ("other", "my-stack.eu", {})

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        path = stack(tmp_path, "")
        path.write_bytes(b"\xef\xbb\xbfconfig:\n  a: b\n")
        assert read(path, no_passphrase).config == {"flatline:a": "b"}


class TestSecrets:
    def content(self, value: str = PULUMI_VALUE) -> str:
        return (
            f"encryptionsalt: {PULUMI_SALT}\nconfig:\n  top: {{secure: {value!r}}}\n  plain: x\n"
            f"  nested:\n    list: [1, {{secure: {value!r}}}]\n    plain: x\n"
        )

    def test_decrypted_and_marked(self, tmp_path: Path) -> None:
        config = read(stack(tmp_path, self.content()), lambda: "pass")
        assert config.config["flatline:top"] == "s3cr3t"
        assert config.config["flatline:nested"] == '{"list":[1,"s3cr3t"],"plain":"x"}'
        assert config.secret_keys == ("flatline:nested", "flatline:top")
        assert config.encryption_salt == PULUMI_SALT
        assert "s3cr3t" not in repr(config)

    @pytest.mark.parametrize(
        ("old", "new", "passphrase", "problem"),
        [
            ("", "", "other", r"Pulumi\.dev\.yaml:1: encryptionsalt: incorrect passphrase"),
            ("WYON", "AAAA", "pass", r"Pulumi\.dev\.yaml:5: nested: an encrypted value does not belong"),
            (f"encryptionsalt: {PULUMI_SALT}\n", "", "pass", "has encrypted values but no encryptionsalt"),
            ("encr", "secretsprovider: awskms://x\nencr", "pass", "secretsprovider: its secrets need the Pulumi CLI"),
        ],
        ids=["wrong passphrase", "damaged value", "no salt", "another provider"],
    )
    def test_what_cannot_be_read_is_named(
        self, tmp_path: Path, old: str, new: str, passphrase: str, problem: str
    ) -> None:
        with pytest.raises(StackFileError, match=problem):
            read(stack(tmp_path, self.content().replace(old, new)), lambda: passphrase)

    @pytest.mark.usefixtures("quick")
    def test_encrypt(self, tmp_path: Path) -> None:
        first, salt = encrypt("one: [two]\n", "pass", None)
        second, again = encrypt("other", "pass", salt)
        assert again == salt
        secure = {"first": {"secure": first}, "second": {"secure": second}}
        path = stack(tmp_path, json.dumps({"encryptionsalt": salt, "config": secure}))
        assert read(path, lambda: "pass").config == {"flatline:first": "one: [two]\n", "flatline:second": "other"}

    @pytest.mark.usefixtures("quick")
    def test_encrypt_with_another_passphrase_than_the_file_has(self) -> None:
        _, salt = encrypt("one", "pass", None)
        with pytest.raises(PassphraseError, match="incorrect passphrase"):
            encrypt("two", "other", salt)


class TestMistakes:
    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("config:\n  a: 1\n  b: 2\n  a: 3\n", r":4: a: already given in line 2$"),
            ("config:\n  a: 1\n  flatline:a: 3\n", r":3: flatline:a: already given as a$"),
            ("config:\n  o:\n    x: 1\n    x: 2\n", r":4: x: already given in line 3$"),
            ("config:\n  a: [1\n  b: 2\n", r":\d: malformed YAML: "),
            ("config:\n  a: 'open\n", r":\d: malformed YAML: "),
            ("config:\n\ta: 1\n", r":2: malformed YAML: "),
            ("config:\n  a: \x00\n", r"malformed YAML"),
            ("a: 1\n---\nb: 2\n", r":2: malformed YAML: but found another document"),
            ("config: [1]\n", r":1: config: must be a mapping$"),
            ("- 1\n", r":1: must be a mapping$"),
            ("confg:\n  a: 1\n", r":1: confg: unknown key; this file may have config, "),
            ("config:\n  1: a\n", r":2: every key must be text: put it in quotes$"),
            ("config:\n  [a]: a\n", r":2: every key must be text"),
            ("config:\n  a:b:c: 1\n", r":2: a:b:c: a key has the form <namespace>:<name>"),
            ("config:\n  'a:': 1\n", r":2: a:: a key has the form"),
            ("config:\n  a: !custom 1\n", r":2: malformed YAML: the tag !custom is not supported"),
            ("x: &x {a: 1}\nconfig:\n  <<: *x\n", r":3: merge keys"),
            ("config:\n  a: &x [1, *x]\n", r":2: an alias is inside of what it names"),
            ("config:\n  a: &x {b: {c: *x}}\n", r":2: an alias is inside of what it names"),
            ("config:\n  a: " + "[" * 60 + "]" * 60 + "\n", r":2: is nested too deeply"),
            ("config:\n  a: " + "[" * 6000 + "]" * 6000 + "\n", r": is nested too deeply"),
            (
                "config:\n  a: &a [1,1,1,1,1,1,1,1,1,1]\n"
                + "".join(f"  {n}: &{n} [{','.join([f'*{chr(ord(n) - 1)}'] * 10)}]\n" for n in "bcdefghi"),
                r"its aliases make more than 20000 values",
            ),
            ("environment: [dev]\n", r":1: environment: Pulumi ESC"),
        ],
    )
    def test_one_error_that_names_file_and_line(self, tmp_path: Path, content: str, problem: str) -> None:
        with pytest.raises(StackFileError, match=r"^Pulumi\.dev\.yaml" + f".*{problem}") as caught:
            given(tmp_path, content)
        assert "\n" not in str(caught.value)

    def test_malformed_text_is_not_repeated(self, tmp_path: Path) -> None:
        with pytest.raises(StackFileError) as caught:
            given(tmp_path, "config:\n  a: {b: hidden-value\n  c: d: e\n")
        assert "hidden-value" not in str(caught.value)

    @pytest.mark.parametrize(
        "content",
        [
            "SECRET: 1\n",
            "config:\n  SECRET: 1\n  SECRET: 2\n",
            "config:\n  flatline:SECRET: 1\n  SECRET: 2\n",
            "config:\n  a:b:SECRET: 1\n",
            "config:\n  a: !SECRET 1\n",
            "config:\n  a: *SECRET\n",
            "config:\n  a: !x!SECRET 1\n",
        ],
    )
    @pytest.mark.parametrize("secret", ["9f86d081884c7d659a2feaa0c55ad015", "VGhpcyBpcyBhIHNlY3JldCBvZiB0", "A1" * 40])
    def test_possible_secrets_are_never_shown(self, tmp_path: Path, content: str, secret: str) -> None:
        """Somebody may paste a secret in the place of a name."""
        with pytest.raises(StackFileError) as caught:
            given(tmp_path, content.replace("SECRET", secret))
        assert secret[:12] not in str(caught.value)
        assert re.match(r"Pulumi\.dev\.yaml:\d: ", str(caught.value))

    def test_a_key_of_several_lines_is_never_shown(self, tmp_path: Path) -> None:
        pem = "-----BEGIN PRIVATE KEY-----\\nMIGHAgEAMBMGByqGSM49\\nabc==\\n-----END PRIVATE KEY-----"
        with pytest.raises(StackFileError) as caught:
            given(tmp_path, f'"{pem}": 1\n')
        assert "abc" not in str(caught.value)
        assert "MIGH" not in str(caught.value)

    def test_absent_file_names_those_that_exist(self, tmp_path: Path) -> None:
        stack(tmp_path, "")
        with pytest.raises(
            StackFileError, match=r"Pulumi\.prod\.yaml: no such file in .*; there are Pulumi\.dev\.yaml"
        ):
            read(tmp_path / "Pulumi.prod.yaml", no_passphrase)

    def test_absent_project(self, tmp_path: Path) -> None:
        (tmp_path / "Pulumi.dev.yaml").write_text("")
        with pytest.raises(StackFileError, match=r"^Pulumi\.yaml: no such file"):
            read(tmp_path / "Pulumi.dev.yaml", no_passphrase)

    def test_other_names(self, tmp_path: Path) -> None:
        with pytest.raises(StackFileError, match="a stack file is called"):
            read(tmp_path / "dev.yaml", no_passphrase)

    def test_not_text(self, tmp_path: Path) -> None:
        path = stack(tmp_path, "")
        path.write_bytes(b"\xff\xfe\xfa")
        with pytest.raises(StackFileError, match="is not UTF-8 text"):
            read(path, no_passphrase)

    @pytest.mark.parametrize(
        ("project", "problem"),
        [
            (
                "name: flatline\nconfig:\n  a: {type: string}\n",
                "2: config: is not supported here; write the values",
            ),
            ("runtime: python\n", "1: name: must be given"),
        ],
    )
    def test_mistakes_of_the_project(self, tmp_path: Path, project: str, problem: str) -> None:
        with pytest.raises(StackFileError, match=rf"^Pulumi\.yaml:{problem}"):
            given(tmp_path, "", project)


def test_nothing_of_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", '{"flatline:a": "b"}')
    assert given(tmp_path, "").config == {}
