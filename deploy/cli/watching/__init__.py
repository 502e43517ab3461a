"""The gallery follows the disk: folders whose new, changed, moved and removed photos are noticed by themselves.

    seen.py       what was seen of a folder's files last, kept over restarts
    folder.py     comparing a folder with that: what is new and whole, what is gone
    follow.py     bringing the gallery in line: one index job for what is new, the trash for what is gone
    watcher.py    when to compare: when the system says that something happened, and every minute

Comparing finds out what happened; what the operating system tells merely says when to compare. So nothing depends on
every event arriving, and network drives, which tell nothing, are followed by the same code, a little later.
"""
