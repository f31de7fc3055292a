"""What a browser would make of a page."""

from html.parser import HTMLParser

VOID = ("meta", "img", "br", "link", "input")
ADDRESSES = ("src", "href", "action", "data", "srcset", "poster")


class Browser(HTMLParser):
    """Tags, texts, event handlers and addresses of a page; fails where a tag is closed that is not open."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.handlers, self.addresses, self.marked, self.text = [], [], [], [], [], ""
        self.alts = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ADDRESSES:
                self.addresses.append(value)
            if name == "alt":
                self.alts.append(value)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data
        if self.open and self.open[-1] == "mark":
            self.marked.append(data)
