"""The gallery in storage: originals, their metadata, thumbnails. This is the truth; collections are made from it.

An image's id is the first 32 hex digits of the SHA-256 of its bytes, so adding twice changes nothing. An image exists
when its metadata does: it is written last and removed first. Whoever reads metadata to change it holds its lock.

    originals/ab/<id>        the bytes as they came, unless they stay in place
    thumbnails/ab/<id>.jpg   re-encoded, without metadata
    views/ab/<id>.jpg        the same, large, of images that somebody has looked at
    metadata/ab/<id>.json    a messages.GalleryImage, who gave the label, and where the original is if it stays in place
    trash/ab/<id>.json       the same of an image that was deleted and can come back: trash.py

gallery.py      changing it: images, labels, into the trash and back
reading.py      what can be asked of it
sources.py      a photo's file on its way in
originals.py    the photos' bytes, as copies or in place
image_records.py  records found by an image's id
metadata.py     those of images
trash.py        those of deleted ones
"""

from workers.gallery.gallery import Added, Gallery, LabelBefore
from workers.gallery.originals import image_id
from workers.gallery.reading import DAMAGED, GalleryReader, limits

__all__ = ["DAMAGED", "Added", "Gallery", "GalleryReader", "LabelBefore", "image_id", "limits"]
