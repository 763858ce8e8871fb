"""What a page of Markdown holds: its links, and its headings with the anchors that GitHub makes."""

import re
import typing

FENCE = re.compile(r"^ *(```+|~~~+)")
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^()\s<>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HTML_LINK = re.compile(r"<(?:a|img)\s[^>]*(?:href|src)=\"([^\"]+)\"")
HTML_ANCHOR = re.compile(r"<[a-z]+\s[^>]*(?:id|name)=\"([^\"]+)\"")
HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")


class Link(typing.NamedTuple):
    line: int
    begin: int  # where the target stands in the text
    target: str


def lines_of(text):
    """Each line with its end, and whether it is a part of a fenced block of code."""
    fence = None
    for line in text.splitlines(keepends=True):
        mark = FENCE.match(line)
        if fence is None and mark:
            fence = mark.group(1)
            yield line, True
        elif fence is not None:
            if mark and mark.group(1).startswith(fence) and line.strip() == mark.group(1):
                fence = None
            yield line, True
        else:
            yield line, False


def without_code(text):
    """The text with all code replaced by as many characters that mean nothing."""
    blank = lambda found: re.sub(r"[^\n]", "x", found)
    prose = "".join(blank(line) if is_code else line for line, is_code in lines_of(text))
    return CODE_SPAN.sub(lambda found: blank(found.group()), prose)


def links_of(text):
    prose = without_code(text)
    for pattern in (LINK, HTML_LINK):
        for found in pattern.finditer(prose):
            begin, end = found.span(1)
            yield Link(text.count("\n", 0, begin) + 1, begin, text[begin:end])


def headings_of(text):
    """(line, level, title, anchor) of each heading, lines counted from 0."""
    seen = {}
    for number, (line, is_code) in enumerate(lines_of(text)):
        found = None if is_code else HEADING.match(line)
        if not found:
            continue
        title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", found.group(2))
        slug = re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        yield number, len(found.group(1)), title, f"{slug}-{count}" if count else slug


def anchors_of(text):
    return {anchor for _, _, _, anchor in headings_of(text)} | set(
        HTML_ANCHOR.findall(without_code(text)))
