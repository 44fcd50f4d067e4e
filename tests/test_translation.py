"""English first, all texts translatable, Dutch shipped (SPEC N5); docs/translating.md tells how it is kept."""

from __future__ import annotations

import ast
import gettext
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling.submit import submit
from projects.models import Project
from tests import make

ROOT = Path(__file__).parent.parent
MESSAGES = ROOT / "locale/nl/LC_MESSAGES"
PLACEHOLDER = re.compile(r"%\(\w+\)[-+#0-9.]*[a-z]|\{\w*\}")
TAG = re.compile(r"</?[a-z]+>")
DUTCH = {"headers": {"accept-language": "nl-BE,nl;q=0.9,en;q=0.5"}}


@dataclass
class Entry:
    """A message of the .po file."""

    context: str | None = None
    source: str = ""
    plural: str = ""
    texts: dict[int, str] = field(default_factory=dict)
    is_fuzzy: bool = False

    def pairs(self) -> list[tuple[str, str]]:
        return [(self.plural if number else self.source, text) for number, text in self.texts.items()]


def entries() -> list[Entry]:
    """Read the .po file, the header left out."""
    found = []
    for block in re.split(r"\n\s*\n", (MESSAGES / "django.po").read_text(encoding="utf-8")):
        entry = Entry()
        key = ""
        for line in block.splitlines():
            if line.startswith("#"):
                entry.is_fuzzy |= line.startswith("#,") and "fuzzy" in line
                continue
            if not line.startswith('"'):
                key, line = line.split(" ", 1)
            text = ast.literal_eval(line)
            if key == "msgctxt":
                entry.context = (entry.context or "") + text
            elif key == "msgid":
                entry.source += text
            elif key == "msgid_plural":
                entry.plural += text
            else:
                number = int(key[7:-1] or 0) if key != "msgstr" else 0
                entry.texts[number] = entry.texts.get(number, "") + text
        if entry.source:
            found.append(entry)
    return found


def test_every_message_has_a_dutch_text_with_the_same_placeholders() -> None:
    known = entries()
    assert len(known) > 1000
    assert [entry.source for entry in known if entry.is_fuzzy] == []
    assert [entry.source for entry in known if len(entry.texts) != (2 if entry.plural else 1)] == []
    assert [source for entry in known for source, text in entry.pairs() if not text] == []
    for pattern in (PLACEHOLDER, TAG):
        differing = [
            (source, text)
            for entry in known
            for source, text in entry.pairs()
            if sorted(pattern.findall(source)) != sorted(pattern.findall(text))
        ]
        assert differing == []


def test_what_is_compiled_is_what_is_written() -> None:
    with (MESSAGES / "django.mo").open("rb") as file:
        compiled = dict(gettext.GNUTranslations(file)._catalog)  # type: ignore[attr-defined]
    del compiled[""]
    written = {}
    for entry in entries():
        key = f"{entry.context}\x04{entry.source}" if entry.context else entry.source
        written |= {((key, n) if entry.plural else key): text for n, text in entry.texts.items()}
    assert compiled == written


def test_labeling_pages_answer_in_dutch(project: Project, labeler: User, client: Client) -> None:
    client.force_login(labeler)
    page = client.get(f"/label/{project.pk}/", follow=True, **DUTCH)
    assert page.status_code == 200
    words = page.content.decode()
    assert '<html lang="nl"' in words
    assert "Inleveren" in words and "Overslaan" in words
    assert "Submit" not in words
    assert "English</button>" in words and "Nederlands</button>" in words  # each in its own words
    assert "Inloggen" in Client().get("/login/", **DUTCH).content.decode()


def test_the_console_answers_in_dutch_with_numbers_that_svg_can_read(
    project: Project, manager: User, labeler: User, client: Client
) -> None:
    page = make.page(project, labeler, 6)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]))
    client.force_login(manager)
    words = client.get(f"/admin/projects/project/{project.pk}/dashboard/", **DUTCH).content.decode()
    assert '<html lang="nl"' in words
    assert "Voortgang" in words and "Wachtrij" in words
    assert "30,0%" in words  # to be read; what is drawn has a point
    drawn = re.findall(r'\s(?:x|y|x1|y1|x2|y2|width|height|stroke-dasharray|stroke-dashoffset)="([^"]*)"', words)
    assert any(re.fullmatch(r"\d\d\.\d\d 100", value) for value in drawn)
    assert [value for value in drawn if "," in value] == []


def test_the_api_tells_errors_in_dutch(project: Project, labeler: User, client: Client) -> None:
    nowhere = client.get("/api/v1/nowhere/", **DUTCH)
    assert nowhere.status_code == 404
    assert nowhere.json()["detail"].startswith("Dat adres bestaat niet.")
    client.force_login(labeler)
    page = make.page(project, labeler, 1)
    answer = client.post(
        f"/api/v1/labeling/pages/{page.pk}/submit/",
        {"items": []},
        content_type="application/json",
        **DUTCH,
    )
    assert answer.status_code == 400
    assert "nog geen antwoord" in answer.json()["detail"]


def test_people_choose_their_language(project: Project, manager: User, client: Client) -> None:
    client.force_login(manager)
    here = f"/admin/projects/project/{project.pk}/dashboard/?a=b"
    english = {"headers": {"accept-language": "en"}}
    words = client.get(here, **english).content.decode()
    assert '<html lang="en"' in words and "Progress" in words
    form = re.search(r'<form method="post" action="(/language/)".*?</form>', words, re.S)
    assert form and 'name="language" value="nl"' in form[0] and f'name="next" value="{here}"' in form[0]
    answer = client.post(form[1], {"language": "nl", "next": here}, **english)
    assert answer.status_code == 302 and answer["Location"] == here
    assert "Voortgang" in client.get(here, **english).content.decode()


def test_a_site_has_a_language_of_its_own() -> None:
    code = "import django; django.setup(); from labeling.models import Status; print(Status.QUEUED.label)"

    def run(language: str) -> subprocess.CompletedProcess[str]:
        chosen = {**os.environ, "DJANGO_SETTINGS_MODULE": "labelsite.settings", "LANGUAGE_CODE": language}
        return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=chosen, capture_output=True, text=True)

    assert run("nl").stdout.strip() == "In de wachtrij"
    assert "LANGUAGE_CODE is one of en, nl, not “xx”." in run("xx").stderr


NOT_TEXT = re.compile(
    r"{#.*?#}|{%\s*comment.*?endcomment\s*%}|{%\s*blocktrans.*?endblocktrans\w*\s*%}|{%.*?%}|{{.*?}}"
    r"|<(script|style|code|kbd)\b.*?</\1>|<!--.*?-->",
    re.S,
)
SHOWN_ATTRIBUTE = re.compile(r'\b(?:aria-label|aria-description|title|alt|placeholder)="([^"]*)"')
# Words, but for names, abbreviations (COCO) and addresses.
WORD = re.compile(r"(?<![\w/:.&#])(?!(?:labelsite|OpenAPI)\b)(?=\w*[a-zà-ÿ])[^\W\d_]{3,}(?![\w/:])")


def test_templates_have_no_texts_outside_of_translations() -> None:
    found = []
    for path in sorted((ROOT / "templates").rglob("*.html")):
        if path.name.startswith("_importmap"):
            continue
        html = NOT_TEXT.sub("\0", path.read_text(encoding="utf-8"))
        texts = [*SHOWN_ATTRIBUTE.findall(html), *re.split(r"<[^<>]*>|\0", html)]
        found += [f"{path.name}: {text.strip()}" for text in texts if WORD.search(text)]
    assert found == []


@pytest.mark.parametrize("text", ["<p>Not translated</p>", '<a title="Not translated">{% trans "Translated" %}</a>'])
def test_a_text_outside_of_a_translation_is_found(text: str) -> None:
    html = NOT_TEXT.sub("\0", text)
    assert any(WORD.search(part) for part in [*SHOWN_ATTRIBUTE.findall(html), *re.split(r"<[^<>]*>|\0", html)])


def test_svg_is_drawn_with_plain_numbers_in_any_language() -> None:
    attributes = re.compile(r"<(?:svg|rect|circle|line|text|polyline|path)\b[^<>]*>")
    rounded = re.compile(r"floatformat(?!:\"-?\d+u)[^}]*}}")
    found = [
        f"{path.name}: {tag}"
        for path in sorted((ROOT / "templates").rglob("*.html"))
        for tag in attributes.findall(path.read_text(encoding="utf-8"))
        if rounded.search(re.sub(r'(aria-label|title)="[^"]*"', "", tag))
    ]
    assert found == []
