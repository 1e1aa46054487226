r"""Make untrusted text printable: on one line, and without characters that control a terminal.

Names, ids and messages come from files that others wrote. Escape sequences move the cursor and make links, C1 controls
do the same in one character, bidirectional overrides and zero-width characters make one name look like another, and a
line feed starts a line that seems to be from maskmill. Each becomes a visible escape: `\x1b`, `\u202e`, `\n`.
Everything else, of any script, stays as it is, with the joiners and variation selectors that letters and emoji need.
"""

from __future__ import annotations

import re

SHOWN_CHARACTERS = 1000
"""Of one value in a message."""
SHOWN_IN_TABLES = 100
"""Of a name in a table."""

_JOINED = (
    "\u0600-\u061b\u061d-\u06ff\u0750-\u077f\u0870-\u08ff\u0900-\u109f\u1780-\u17b3\u17b6-\u180a\u1810-\u18af"
    "\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefe"
)
"""Scripts in which joiners decide how letters look: Arabic, those of India and of South-East Asia, Mongolian."""
_EMOJI = "\u203c\u2049\u2122\u2139\u2190-\u27ff\u2900-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_HAN = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\u00ad"  # C0, DEL, C1 and the soft hyphen
    "\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # joiners, marks and fillers that have no width
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"  # zero width, line and paragraph separators, directions
    "\ud800-\udfff\ue000-\uf8ff"  # surrogates, as in names that are not UTF-8, and private use
    "\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff"  # formats, tags, variations, private use
)
_UNSHOWN = re.compile(
    "(?P<kept>"
    "\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f"  # the flag of a region
    f"|(?<=[{_JOINED}])[\u200c\u200d](?=[{_JOINED}])"
    f"|(?<=[{_EMOJI}])\ufe0f?\u200d(?=[{_EMOJI}])"
    f"|(?<=[0-9#*\u00a9\u00ae{_EMOJI}])[\ufe0e\ufe0f]"
    f"|(?<=[{_HAN}])[\ufe00-\ufe02\U000e0100-\U000e01ef]"
    f")|[{_HIDDEN}]"
)


def make_printable(text: str, most: int | None = None) -> str:
    """Return untrusted text as one line with every character visible.

    Args:
        text: Any text, surrogates included.
        most: How many characters to show; `None` for all.
    """
    if most is not None and len(text) > most:
        return f"{make_printable(text[:most])}... ({len(text):,} characters)"
    if text.isascii() and text.isprintable():
        return text
    return _UNSHOWN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    kept = found["kept"]
    return kept if kept is not None else found[0].encode("unicode_escape").decode("ascii")
