"""Classes from labels and from what people said of pairs of images: the same, or not the same.

What is the same is of one class, through any number of pairs. Labels count more than answers, and of two answers that
contradict each other the one that was given first: an answer that would join two labels, or what somebody said is not
the same, joins nothing, and is counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Classes:
    """What labels and answers together say.

    Args:
        labels: image -> class. A class without a label is named after its first image.
        joined: images that have a class by answers alone.
        contradictions: answers that labels or earlier answers contradict.
    """

    labels: dict[str, str]
    joined: int
    contradictions: int


def classes_of(labels: Mapping[str, str], answers: Iterable[tuple[str, str, bool]]) -> Classes:
    """The class of each image that has a label, or is the same as another one.

    Args:
        labels: image -> label.
        answers: two images, and whether they show the same; the first given first. Images that are in neither are
            passed over, by whoever reads them.
    """
    answers = list(answers)
    groups = _Groups()
    representatives: dict[str, str] = {}
    for image, label in labels.items():
        groups.join(image, representatives.setdefault(label, image))
    label_of = {groups.find(image): label for label, image in representatives.items()}
    contradictions = 0
    for one, other, is_same in answers:
        if not is_same:
            if groups.find(one) == groups.find(other):
                contradictions += 1
            else:
                groups.part(one, other)
            continue
        first, second = groups.find(one), groups.find(other)
        if first == second:
            continue
        if (first in label_of and second in label_of) or groups.are_apart(first, second):
            contradictions += 1
            continue
        known = next((label_of.pop(root) for root in (first, second) if root in label_of), None)
        groups.join(first, second)
        if known is not None:
            label_of[groups.find(first)] = known
    members: dict[str, list[str]] = {}
    for image in groups.members():
        members.setdefault(groups.find(image), []).append(image)
    found = {
        image: label_of.get(root) or f"like {min(images)}"
        for root, images in members.items()
        if root in label_of or len(images) > 1
        for image in images
    }
    return Classes(found, len(found.keys() - labels.keys()), contradictions)


class _Groups:
    """Images that are the same, as a union-find forest, and which groups are known to differ."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._apart: dict[str, set[str]] = {}  # root -> roots that it must not be joined with

    def members(self) -> list[str]:
        return list(self._parents)

    def find(self, image: str) -> str:
        root = self._parents.setdefault(image, image)
        while root != self._parents[root]:
            root = self._parents[root]
        while image != root:  # so that the next way is short
            self._parents[image], image = root, self._parents[image]
        return root

    def join(self, one: str, other: str) -> None:
        kept, given_up = self.find(one), self.find(other)
        if kept == given_up:
            return
        self._parents[given_up] = kept
        for apart in self._apart.pop(given_up, ()):
            self._apart[apart].discard(given_up)
            self.part(kept, apart)

    def part(self, one: str, other: str) -> None:
        first, second = self.find(one), self.find(other)
        self._apart.setdefault(first, set()).add(second)
        self._apart.setdefault(second, set()).add(first)

    def are_apart(self, one: str, other: str) -> bool:
        return self.find(other) in self._apart.get(self.find(one), ())
