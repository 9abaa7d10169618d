"""Parses the report of a run as HTML and says what is wrong with it: elements that are not closed where they should be, scripts,
and anything that would be fetched. Prints the number of charts and of rows of tables."""

import sys
from html.parser import HTMLParser

EMPTY = {"meta", "circle", "path", "br", "input"}
FETCHED = {"src", "href", "xlink:href", "action", "data", "poster", "srcset"}


class Page(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.counts = [], {}

    def handle_starttag(self, tag, attributes):
        assert tag not in {"script", "iframe", "object", "embed", "link", "img"}, tag
        for name, value in attributes:
            assert name not in FETCHED and not name.startswith("on"), (tag, name, value)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in EMPTY:
            assert self.open and self.open[-1] == tag, f"</{tag}> within {self.open}"
            self.open.pop()


page = Page()
text = open(sys.argv[1], encoding="utf-8").read()
page.feed(text)
page.close()
assert not page.open, page.open
assert "@import" not in text and "url(" not in text
print(page.counts.get("svg", 0), page.counts.get("tr", 0))
