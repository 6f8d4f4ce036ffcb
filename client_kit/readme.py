"""The page of each kit: where each file goes, and what else must be changed."""

from client_kit.pins import Pins, fingerprint, name_of

_COUNTRIES = "+20, +53, +58, +86, +92, +98, +380, +968, +971, +974, +998"
"""Country codes for which some release of Android's clients goes to Signal's domain fronts."""

_CONNECTIONS = """\
A client has two lists of authorities: libsignal's, for the connection to Whisper, and the app's own, for everything
else. Both need these authorities. Build libsignal first, with the kit `./flatline pins --for libsignal`.
"""


def android(pins: Pins) -> str:
    """Of Molly, Signal and what derives from them."""
    return f"""\
# A client for {pins.domain}: Android

{_authorities(pins)}
{_CONNECTIONS}
| file | where it goes |
| --- | --- |
| `whisper.store` | `app/src/main/res/raw/whisper.store`, in place of the one there (BKS, password `whisper`) |
| `flatline.gradle.kts` | its lines into `app/build.gradle.kts`, as its first lines say |
| `ca.pem` | nowhere: to look at, and for tests |

## What else must be changed

- **Application id**: in `gradle.properties` or `app/build.gradle.kts` an id of your own, a signing key of your own, and
  for FCM a Firebase project of your own. Two apps of one id cannot be on one phone.
- **Domain fronts**: `SignalServiceNetworkAccess` sends numbers of some countries to fronts of Signal
  ({_COUNTRIES}; releases differ). Empty its table of countries, or give nobody a number there. Add the host names of
  `flatline.gradle.kts` to its list of host names if there is one (Molly's `HOSTNAMES`).
- **Static addresses**: Signal's `app/static-ips.gradle.kts` has Signal's own. The fields `SIGNAL_..._IPS` here are
  empty; put the addresses of your server there if DNS is unreliable where your people are.
- **Status and updates**: the fields here point at names below `.invalid`, which never resolve, so the app does not ask
  Signal or Molly about status, badges, captchas and new versions. Give your people new versions yourself.
- **libsignal**: depend on the one that you have built. `LIBSIGNAL_NET_ENV` is its environment `DEV`.

{_verify()}"""


def libsignal(pins: Pins) -> str:
    """Of the library that every client has."""
    several = len(pins.authorities) > 1
    files = "`internal.cer`, `internal-2.cer`" if several else "`internal.cer`"
    return f"""\
# A client for {pins.domain}: libsignal

{_authorities(pins)}
| file | where it goes |
| --- | --- |
| {files} | `rust/net/res/`: certificates, as DER |
| `certs.rs` | in place of the constant `INTERNAL_DEV_CERTIFICATE` of `rust/net/src/certs.rs` |
| `env.rs` | in place of the constants `DOMAIN_CONFIG_..._DEV` of `rust/net/src/env.rs` |
| `ca.pem` | nowhere: to look at, and for tests |

## What else must be changed

- **The environment `DEV`**: upstream libsignal has none. The constants have the form of libsignal 0.80, to which
  Flatline's branch `flatline-dev-build` adds it. Later releases have more fields in `ConnectionConfig` (`service`,
  `http_version`) and in `Env`: the compiler names each.
- **TLS 1.3** is the least that these constants take. `./flatline connect` proves that your server speaks it.
- **`X-Signal-Timestamp`**: an answer to the connection without this header is taken for one of a proxy, not of Whisper.
- **Node.js and Swift** have enumerations of environments of their own, without `DEV`: add it there for iOS and Desktop.
- **Sealed sender**: `KNOWN_SERVER_CERTIFICATES` of `rust/protocol/src/sealed_sender.rs` has Signal's. Whisper sends
  its own certificate whole, so nothing is to be added.
- **Noise**: a client of a release with the noise tunnel takes the pin `noisePublicKey` of `pins.json`; `DEV` has no
  tunnel.

{_verify()}"""


def ios(pins: Pins) -> str:
    """Of Signal's app for iOS."""
    names = ", ".join(f"`flatline-{number}.cer`" for number in range(1, len(pins.authorities) + 1))
    return f"""\
# A client for {pins.domain}: iOS

{_authorities(pins)}
{_CONNECTIONS}
| file | where it goes |
| --- | --- |
| `TSConstantsFlatline.swift` | beside `SignalServiceKit/Environment/TSConstants.swift`, and into the Xcode project |
| {names} | the resources of SignalServiceKit: certificates, as DER |
| `ca.pem` | nowhere: to look at, and for tests |

## What else must be changed

- **The constants in use**: in `TSConstants.swift`, `shared` returns `TSConstantsFlatline()`, and `libSignalEnv` the
  environment that you added to libsignal's Swift part.
- **The trust store**: where the app reads Signal's certificate by its name, read these by theirs.
- **Bundle id**, app group and entitlements of your own: a paid Apple developer account.
- **Push**: Apple lets no app keep a connection open in the background. Without APNs, which this Whisper does not send,
  messages come only while the app is open.
- **Domain fronts**: the reflectors here do not resolve. Take the countries out of `OWSCensorshipConfiguration`.
- **Updates**: names below `.invalid` never resolve, so the app does not ask Signal.

{_verify()}"""


def desktop(pins: Pins) -> str:
    """Of Signal Desktop."""
    return f"""\
# A client for {pins.domain}: Desktop

{_authorities(pins)}
{_CONNECTIONS}
| file | where it goes |
| --- | --- |
| `config.json` | its keys over those of `config/production.json`; from source, of `config/default.json` as well |
| `ca.pem` | nowhere: `certificateAuthority` has it |

## What else must be changed

- **libsignal**: Desktop chooses its environment by `serverUrl`, Signal's staging or production. Let it choose the one
  that you added to libsignal's Node.js part: without that, chat goes to Signal.
- **A linked device**: Desktop is linked by a phone, and this Whisper has no provisioning of devices. Only its
  development set-up as a device of its own works.
- **Trust roots**: sources of 2025 and later read `serverTrustRoots`, older ones `serverTrustRoot`.
- **Name and id**: `productName` and `appId` in `package.json`, so that it stands beside Signal's.
- **Updates**: `updatesEnabled` is false, and hosts below `.invalid` never resolve.

{_verify()}"""


def _authorities(pins: Pins) -> str:
    """The authorities of the kit: an operator compares them with the server's."""
    rows = "".join(
        f"| {name_of(each.subject)} | {each.not_valid_after_utc:%Y-%m-%d} | `{fingerprint(each)}` |\n"
        for each in pins.authorities
    )
    return f"""\
Made by `./flatline pins` from the stack's pins. Nothing here is secret. A renewed certificate of the server needs no
new build; another authority does.

| authority | until | SHA-256 |
| --- | --- | --- |
{rows}"""


def _verify() -> str:
    return """\
## Before you give the client to people

`./flatline connect --pins pins.json` proves that a client with these pins would be served. It needs this folder's
`pins.json` and a checkout of Flatline, and no access to the cluster.
"""
