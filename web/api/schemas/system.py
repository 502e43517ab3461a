"""How the whole system is."""

from apiflask.fields import Boolean, Dict, Float, Integer, List, Nested, String
from apiflask.validators import OneOf

from web.api.fields import note
from web.api.schemas.base import Answer

QUEUES = ("search", "index", "maintenance")


class Worker(Answer):
    id = String()
    host = String()
    pid = Integer()
    queues = List(String(validate=OneOf(QUEUES)))
    device = String(metadata=note("where its model runs", "cpu"))
    precision = String(metadata=note("number format of the model", "bf16"))
    why = String(metadata=note("the reason for device and precision"))
    model = String()
    collection = String()
    images = Integer()
    holds = List(String(), metadata=note("collections that a change of the gallery reaches through it"))
    age_s = Float(metadata=note("since its last heartbeat"))
    started_at = Float()
    rss_mb = Float(metadata=note("memory in use"))
    problem = String(metadata=note("what it cannot work without and that is away; empty: nothing"))


class Health(Answer):
    healthy = Boolean()
    problems = List(String(), metadata=note("what is wrong and what to do, in words; empty: nothing"))
    suggestions = List(String(), metadata=note("what would make searches better, in words"))
    model = String(allow_none=True)
    collection = String(allow_none=True)
    images = Integer(allow_none=True, metadata=note("in the active collection; null while no worker can be heard"))
    queues = Dict(keys=String(), values=Integer(), metadata=note("tasks waiting in each queue"))
    workers = List(Nested(Worker))
    settings = Dict(keys=String(), metadata=note("every setting, secrets hidden; empty for all but admins"))
