"""Help with labels: proposals for images that have none, and images whose label may be wrong."""

from apiflask.fields import Float, Integer, List, Nested, String
from apiflask.validators import Range

from web.api.fields import LABEL_LENGTH, Asked, note
from web.api.schemas.base import Answer
from web.api.schemas.images import ListedImage


class ProposalsQuery(Asked):
    limit = Integer(load_default=60, validate=Range(1, 120), metadata=note("groups", 60))
    skip = Integer(load_default=0, validate=Range(0, 240), metadata=note("groups to pass over before", 0))


class Proposal(Answer):
    label = String(allow_none=True, metadata=note("what their neighbours suggest; null: no idea", "mug"))
    share = Float(metadata=note("of the neighbours' votes that the label has", 0.83))
    images = List(Nested(ListedImage), metadata=note("images without a label that are all similar to each other"))


class Proposals(Answer):
    groups = List(Nested(Proposal), metadata=note("what teaches most first"))
    total = Integer(metadata=note("images without a label, also those in no group yet", 37))
    count = Integer(metadata=note("groups in all, also those that were not asked for", 9))


class OutliersQuery(Asked):
    label = String(required=True, validate=LABEL_LENGTH, metadata=note("of which label", "mug"))
    limit = Integer(load_default=12, validate=Range(1, 60), metadata=note("the most doubtful so many", 12))


class Outlier(Answer):
    image = Nested(ListedImage)
    similarity = Float(metadata=note("mean cosine to the most similar images of its label", 0.41))
    like = String(
        allow_none=True,
        metadata=note("label that most of its neighbours have; null: far from the others alone", "jug"),
    )


class Outliers(Answer):
    label = String(metadata=note("the label", "mug"))
    count = Integer(metadata=note("images that carry it", 12))
    outliers = List(Nested(Outlier), metadata=note("images whose label may be wrong, the most doubtful first"))
