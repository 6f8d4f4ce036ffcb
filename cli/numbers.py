"""Phone numbers, by the rules of libphonenumber, with which Whisper and the clients take or refuse them."""

import re

import phonenumbers
from phonenumbers import NumberParseException, ValidationResult

from errors import FlatlineError

_EXAMPLE = "Write it with + and its country code, such as +12025550123."
SPARE = tuple(f"+12025550{last}" for last in range(100, 200))
"""Numbers that the North American plan keeps for fiction, so that nobody owns one, and that libphonenumber accepts."""

_IMPOSSIBLE = {
    ValidationResult.TOO_SHORT: "has too few digits for its country",
    ValidationResult.TOO_LONG: "has too many digits for its country",
    ValidationResult.INVALID_LENGTH: "has a number of digits that its country does not use",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "lacks its area code",
    ValidationResult.INVALID_COUNTRY_CODE: "begins with no country code",
}
_UNREADABLE = {
    NumberParseException.INVALID_COUNTRY_CODE: "begins with no country code",
    NumberParseException.TOO_SHORT_AFTER_IDD: "has too few digits",
    NumberParseException.TOO_SHORT_NSN: "has too few digits",
    NumberParseException.TOO_LONG: "has too many digits",
}


def read(text: str) -> str:
    """A number in E.164 form (`+12025550123`). Raises FlatlineError for one that Whisper would refuse."""
    if not text.strip().startswith("+"):
        raise FlatlineError(f"{text} has no country code", _EXAMPLE)
    if re.search(r"[A-Za-z;,]", text):
        raise FlatlineError(f"{text} is no phone number", _EXAMPLE)
    try:
        number = phonenumbers.parse(text, None)
    except NumberParseException as problem:
        raise FlatlineError(f"{text} {_UNREADABLE.get(problem.error_type, 'is no phone number')}", _EXAMPLE) from None
    length = phonenumbers.is_possible_number_with_reason(number)
    if length in _IMPOSSIBLE:
        raise FlatlineError(f"{text} {_IMPOSSIBLE[length]}", _EXAMPLE)
    if not phonenumbers.is_valid_number(number):
        raise FlatlineError(
            f"{text} is a number that its country gives to nobody, so Whisper and the clients refuse it",
            "For somebody without a number: `./flatline invite --next`",
        )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
