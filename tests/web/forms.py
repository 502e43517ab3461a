"""What a form of a page sends."""

import re


def csrf_token(browser, path="/"):
    return re.search(r'name="csrf_token" value="([^"]+)"', browser.get(path).text)[1]


def post(browser, path, referrer=None, **fields):
    headers = {"Referer": f"http://localhost{referrer}"} if referrer else {}
    return browser.post(path, data={"csrf_token": csrf_token(browser), **fields}, headers=headers)
