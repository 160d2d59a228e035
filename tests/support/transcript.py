# SPDX-License-Identifier: Apache-2.0
"""
The transcripts of a page, followed by a reader who has nothing else: each command is run as it is written, and must print what the page shows.

A transcript is a fenced block without a language: lines that start with "$ ", and below each what it prints. What differs from run to run fits
whatever is in its place: times, numbers, digests, and "…", which on a line of its own stands for any lines,
and as the first line means that other lines may stand between those that are shown, too. Keys are told apart: the page's kids
stand for the reader's, in the order in which they appear.
"""

import itertools
import re
import subprocess

KID = r"[A-Za-z0-9_-]{43}"
SHORT_KID = r"^ {10}(?P<short>[A-Za-z0-9_-]{8})  (?P<bar>[<>.=| -]+)  "

# What heads a group of rows stands at another of them, if there is one before.
ROW = r"^(?:keys|next| {4}) {6}(?=\S)"
LISTED_MAX = 4

# What of a page's line may be something else here: where it is found, and what may stand in its place.
VARIABLE = [
    (r"(?<![\w-])[0-9]{4}-[0-9-]{5}T[0-9:]{8}Z", r"[0-9]{4}-[0-9-]{5}T[0-9:]{8}Z"),
    (r"(?<=request )[A-Za-z0-9_-]{22}(?=\))", r"[A-Za-z0-9_-]{22}"),
    (r"\b[0-9a-f]{12,64}\b", r"[0-9a-f]+"),
    (r"(?:%[0-9a-f]{2})+", r"(?:%[0-9a-f]{2})+"),
    (r"\b[0-9]+(?:\.[0-9]+)? (?:ms|s|min)\b(?: [0-9]+ s\b)?", r"[0-9]+(?:\.[0-9]+)? (?:ms|s|min)(?: [0-9]+ s)?"),
    (r"(?<=At most )[0-9]+", r"[0-9]+"),
    (r"(?<=pid )[0-9]+", r"[0-9]+"),
    (r"(?<=ok: )[0-9]+(?= entries)", r"[0-9]+"),
    (r"…", r".*"),
]


def section(page, heading):
    """The text below a heading, down to the next one of its rank or a higher."""
    rank = heading.index(" ")
    start = re.search(rf"^{re.escape(heading)}\n", page, re.MULTILINE)
    assert start, f"the page has no section {heading!r}"
    end = re.compile(rf"^#{{1,{rank}}} ", re.MULTILINE).search(page, start.end())
    return page[start.end() : end.start() if end else len(page)]


def steps(text):
    """(command, the lines that it prints) for each command of the transcripts in a text."""
    found = []
    for block in re.findall(r"^```\n(\$ .*?)^```$", text, re.MULTILINE | re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = re.sub(r"\\\n\s*", "", step).partition("\n")
            found.append((command, shown.splitlines()))
    return found


class Reader:
    """Runs steps by `run`, which takes a command and returns (exit status, what a terminal would show)."""

    def __init__(self, run):
        self.run = run
        self.kids = {}  # the page's kid -> the one here
        self.told = []  # (command, what it printed), for who writes a page

    def here(self, command):
        for kid in re.findall(KID, command):
            assert kid in self.kids, f"{command}: the page didn't say before which key that is"
            command = command.replace(kid, self.kids[kid])
        return command

    def follow(self, command, shown):
        status, output = self.run(self.here(command))
        self.told.append((command, output))
        fails = bool(shown) and shown[-1].startswith("mintmark: ")
        assert (status != 0) == fails, (command, status, output)
        match = self._match(shown, output)
        assert match, f"$ {command}\n{output}\n--- isn't what the page shows:\n" + "\n".join(shown)
        self.kids.update({page: match[name] for name, page in self._names.items()})

    def _match(self, shown, output):
        """Keys are listed in no order: any that fits. A long line of JSON may be shown on several."""
        if shown and shown[0].startswith("{"):
            shown = ["".join(line.strip() for line in shown)]
        listed = re.split(r"(?m)^(?=\S)", output)[1:] if re.match(rf"{KID} ", output) else [output]
        assert len(listed) <= LISTED_MAX, output
        tried = (re.fullmatch(self._pattern(shown), "".join(order)) for order in itertools.permutations(listed))
        return next(filter(None, tried), None)

    def _pattern(self, shown):
        self._names = {}
        any_lines = r"(?:.*\n)*?"
        if shown and shown[0] == "…":
            return any_lines + any_lines.join(self._line(line) + r"\n" for line in shown[1:] if line != "…") + any_lines
        return "".join(any_lines if line == "…" else self._line(line) + r"\n" for line in shown)

    def _line(self, line):
        bar = re.match(SHORT_KID, line)
        if bar:
            return rf" {{10}}{self._short(bar['short'])}  [<>.=| -]+  " + self._text(line[bar.end() :])
        row = re.match(ROW, line)
        if row:
            return r"(?:keys|next| {4}) {6}" + self._text(line[row.end() :])
        return self._text(line)

    def _text(self, line):
        for found, instead in [(rf"(?<![A-Za-z0-9_-]){KID}(?![A-Za-z0-9_-])", None), *VARIABLE]:
            match = re.search(found, line)
            if match:
                middle = instead or self._kid(match[0])
                return self._text(line[: match.start()]) + middle + self._text(line[match.end() :])
        return re.escape(line)

    def _kid(self, kid):
        if kid in self.kids:
            return re.escape(self.kids[kid])
        for name, named in self._names.items():
            if named == kid:
                return f"(?P={name})"
        name = f"kid{len(self._names)}"
        self._names[name] = kid
        return f"(?P<{name}>(?P<{name}_short>[A-Za-z0-9_-]{{8}})[A-Za-z0-9_-]{{35}})"

    def _short(self, short):
        """The start of a kid that the page has in full, before or in the same output."""
        known = [here[:8] for page, here in self.kids.items() if page.startswith(short)]
        known += [f"(?P={name}_short)" for name, page in self._names.items() if page.startswith(short)]
        assert len(known) == 1, f"the page doesn't say which key {short} is"
        return known[0]


def shell(command, folder, environment, timeout=120):
    """Run a command as a terminal would: what is typed when it asks for a kid shows, too."""
    typed = re.search(rf"^mintmark key destroy .*--kid ({KID})", command)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=folder, timeout=timeout, text=True,
        env=dict(environment, ASAN_OPTIONS="detect_leaks=0"),  # modules leak, and are unloaded when that is looked at
        input=f"{typed[1]}\n" if typed else "", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output = done.stdout
    if typed:
        output = output.replace("of the key to destroy: ", f"of the key to destroy: {typed[1]}\n")
    return done.returncode, output if not output or output.endswith("\n") else output + "\n"
