"""Cards: what publishers write is read, and does nothing."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from forge_server.web import markdown
from forge_server.web.markdown import Places, image_type, paths_in, render

FILES = {"images/a.png", "LICENSE", "docs/more.md"}


def places(folder: str = "") -> Places:
    return Places(
        folder=folder,
        image=lambda path: f"/image/{path}" if path in FILES else None,
        file=lambda path: f"/file/{path}" if path in FILES else None,
    )


EVIL = {
    "script": "<script>alert(1)</script>",
    "handler": '<img src="images/a.png" onerror="alert(1)">',
    "style": '<p style="position:fixed">x</p><style>*{display:none}</style>',
    "form": '<form action="/api/v1/tokens"><button>x</button></form>',
    "frame": '<iframe src="//elsewhere.example"></iframe>',
    "svg": "<svg><script>alert(1)</script></svg>",
    "javascript link": "[x](javascript:alert(1))",
    "javascript link, encoded": "[x](&#106;avascript:alert(1))",
    "javascript link, odd case": "[x](JaVaScRiPt:alert(1))",
    "javascript link, tab": "[x](<java\tscript:alert(1)>)",
    "vbscript": "[x](vbscript:x)",
    "data link": "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "file link": "[x](file:///etc/passwd)",
    "reference": "[x][1]\n\n[1]: javascript:alert(1)",
    "autolink": "<javascript:alert(1)>",
    "image from elsewhere": "![x](https://elsewhere.example/x.png)",
    "image from elsewhere, no scheme": "![x](//elsewhere.example/x.png)",
    "image as data": "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "image outside": "![x](../../x.png)",
    "image outside, encoded": "![x](%2e%2e/%2e%2e/x.png)",
    "image of the server": "![x](/health)",
    "link without scheme": "[x](//elsewhere.example/x)",
    "backslashes": "[x](\\\\elsewhere.example\\x)",
    "title": '[x](LICENSE "\\" onclick=alert(1) ")',
    "nested": "[a](javascript:alert(1) [b](LICENSE))",
    "deep quotes": ">" * 3000 + " x",
    "deep lists": "".join(f"{' ' * 2 * at}- x\n" for at in range(300)),
    "comment": "<!-- --><script>alert(1)</script> -->",
    "template": "{{ 7*7 }} {% raw %}",
}


class Parts(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL.keys())
def test_nothing_runs_and_nothing_is_fetched(text: str) -> None:
    html = str(render(text, places()))
    for tag, attributes in Parts(html).found:
        assert tag in {"a", "p", "ul", "li", "blockquote", "img", "em", "code", "pre", "h2"}, html
        assert set(attributes) <= {"href", "src", "alt", "title", "rel"}, html
        href, source = attributes.get("href"), attributes.get("src")
        assert href is None or href.startswith(("/file/", "https://", "http://", "mailto:")), html
        assert source is None or source.startswith("/image/"), html


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL.keys())
def test_each_fence_is_enough_by_itself(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the renderer ever let HTML through, or the cleaner anything."""
    with monkeypatch.context() as patched:
        loose = MarkdownIt("commonmark", {"html": True, "maxNesting": 20})
        patched.setattr(markdown, "_parser", lambda: loose)
        html = str(render(text, places()))
        for tag, attributes in Parts(html).found:
            assert tag not in ("script", "style", "iframe", "form", "svg", "button", "math"), html
            assert not any(name.startswith("on") or name == "style" for name in attributes), html
            href = attributes.get("href") or ""
            assert not href.lower().lstrip().startswith(("javascript", "vbscript", "data")), html
    with monkeypatch.context() as patched:
        patched.setattr(markdown.nh3, "clean", lambda html, **_: html)
        for tag, attributes in Parts(str(render(text, places()))).found:
            assert tag not in ("script", "style", "iframe", "form", "svg"), text
            assert set(attributes) <= {"href", "src", "alt", "title"}, text
            assert not (attributes.get("src") or "").startswith(("http", "//", "data")), text


@pytest.mark.parametrize("char", ["\u202e", "\u2066", "\u200b", "\x1b", "\x00", "\x9b", "\ufeff"])
def test_the_direction_of_the_text_stays_ours(char: str) -> None:
    assert char not in render(f"abc{char}def\n\n```\n{char}\n```\n", places())


def test_markdown_is_shown() -> None:
    html = render(
        "# Name\n\n*em* **strong** ~~s~~ `code`\n\n| a | b |\n|:-:|--:|\n| 1 | 2 |\n\n"
        "1. one\n\n![words](images/a.png) [licence](LICENSE) [web](https://example.org/)\n\n"
        "سلام\tⴰⵣⵓⵍ\n",
        places(),
    )
    for part in (
        "<h2>Name</h2>", "<em>em</em>", "<strong>strong</strong>", "<s>s</s>", "<code>code</code>",
        '<div class="scroll" tabindex="0"><table>', "</table></div>",
        "<td>1</td>", "<ol>", '<img src="/image/images/a.png" alt="words">',
        '<a href="/file/LICENSE"', 'href="https://example.org/" rel="nofollow noopener noreferrer',
        "سلام", "ⴰⵣⵓⵍ",
    ):  # fmt: skip
        assert part in html, part


def test_words_of_what_is_not_followed_stay() -> None:
    assert render("[words](javascript:x) ![picture](https://a.example/x.png)", places()) == (
        "<p>[words](javascript:x) picture</p>\n"
    )
    assert render("[words](missing.md)", places()) == "<p>words</p>\n"


def test_paths_are_those_of_the_card() -> None:
    assert paths_in("![a](../images/a.png) [l](more.md#top) <b>") == {"../images/a.png", "more.md"}
    html = render("![a](../images/a.png) [m](more.md)", places("docs"))
    assert '/image/images/a.png"' in html
    assert '/file/docs/more.md"' in html


def test_an_image_is_one_in_name_and_content() -> None:
    png = b"\x89PNG\r\n\x1a\n..."
    assert image_type("a/b.png", png) == "image/png"
    assert image_type("a.PNG", png) == "image/png"
    assert image_type("a.jpg", png) is None
    assert image_type("a.svg", b"<svg onload=alert(1)>") is None
    assert image_type("a.html", png) is None
    assert image_type("a.png", b"<html>") is None
