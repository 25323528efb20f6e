"""What is told of the addresses, in OpenAPI 3.1. Tests hold the server to it."""

from collections.abc import Iterable
from typing import Any

from regraft import __version__
from regraft.serve.answering import Models
from regraft.serve.reading import ANYTHING, FIELDS, JSON, MOST_TOP, OF_ONE, TOP, types_of

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
BASE64: Schema = {"type": "string", "contentEncoding": "base64"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def _only(required: str, properties: dict[str, Schema]) -> Schema:
    """An object with one field that must be there."""
    found = {"type": "object", "required": [required], "properties": properties}
    return {**found, "additionalProperties": False}


EXAMPLE: Schema = {
    "oneOf": [_only(name, {name: kind}) for name, kind in (("text", TEXT), ("base64", BASE64))]
}
GIVEN: dict[str, Schema] = {
    "text": TEXT,
    "base64": BASE64,
    "texts": {"type": "array", "items": TEXT, "minItems": 1},
    "examples": {"type": "array", "items": EXAMPLE, "minItems": 1},
}
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "messages"],
            "properties": {
                "kind": {"type": "string", "description": "A stable word for programs."},
                "messages": {"type": "array", "items": TEXT, "minItems": 1},
            },
        }
    },
}
RANKED: Schema = {
    "type": "object",
    "required": ["label", "probability"],
    "properties": {"label": TEXT, "probability": SHARE},
}
NOTE: Schema = {"type": ["string", "null"], "description": "Such as: unlike the training data."}
BY: dict[str, Schema] = {
    "model": TEXT,
    "version": {"type": "string", "description": "Changes with the model's content."},
}
END: Schema = {"type": ["number", "null"], "description": "Of its interval; null: unknown."}
RANKING: Schema = {"type": "array", "items": {"$ref": "#/components/schemas/Ranked"}}


def _answer(**fields: Schema) -> Schema:
    properties = {**fields, **BY}
    return {"type": "object", "required": list(properties), "properties": properties}


# What models of each kind answer.
ANSWERS: dict[str, Schema] = {
    "Classified": _answer(
        label={"type": "string", "description": "The most probable class."},
        probability={**SHARE, "description": "Of that class, calibrated."},
        top=RANKING,
        set={
            "type": "array",
            "items": TEXT,
            "description": "Conformal set: the classes that cannot be ruled out.",
        },
        note=NOTE,
    ),
    "Tagged": _answer(
        tags={**RANKING, "description": "The tags that fit, the surest first."},
        top={**RANKING, "description": "The most probable tags, answered or not."},
        note=NOTE,
    ),
    "Valued": _answer(
        values={
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "value", "low", "high"],
                "properties": {
                    "name": TEXT,
                    "value": {"type": "number"},
                    "low": END,
                    "high": END,
                },
            },
        },
        note=NOTE,
    ),
    "Detected": _answer(
        objects={
            "type": "array",
            "description": "The surest first.",
            "items": {
                "type": "object",
                "required": ["label", "score", "box"],
                "properties": {
                    "label": TEXT,
                    "score": SHARE,
                    "box": {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 4,
                        "maxItems": 4,
                        "description": "Left, top, right, bottom in pixels of the picture.",
                    },
                },
            },
        },
        width={"type": "integer", "description": "Of the upright picture, in pixels."},
        height={"type": "integer"},
    ),
    "Transcribed": _answer(
        text={"type": "string", "description": "In lower case, without punctuation."},
        confidence={**SHARE, "description": "Mean of its characters; not calibrated."},
        length={"type": "number", "description": "Of the recording, in seconds."},
    ),
}
ANSWER: Schema = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ANSWERS]}
MODEL: Schema = {
    "type": "object",
    "required": ["name", "version", "modality", "task", "classes", "accepts"],
    "properties": {
        **dict.fromkeys(("name", "version", "modality", "task"), TEXT),
        "classes": {"type": "array", "items": TEXT},
        "accepts": {"type": "array", "items": TEXT, "description": "Content types of raw bodies."},
        "ranked": {"type": "boolean", "description": "Whether `top` is of use for it."},
        "explains": {"type": "boolean", "description": "Whether /v1/explain is of use for it."},
    },
}
PLACE = "Picture: left, top, right, bottom as shares; text: characters; recording: seconds."
LOSS = "What the logarithm of the probability loses where this part is hidden."
EXPLAINED: Schema = {
    "type": "object",
    "required": ["label", "probability", "parts", "model", "version"],
    "properties": {
        **dict.fromkeys(("label", "model", "version"), TEXT),
        "probability": SHARE,
        "parts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["place", "loss"],
                "properties": {
                    "place": {
                        "type": "array",
                        "items": {"type": "number"},
                        "description": PLACE,
                    },
                    "loss": {"type": "number", "description": LOSS},
                },
            },
        },
    },
}
SCHEMAS: dict[str, Schema] = {
    **ANSWERS,
    "Answer": ANSWER,
    "Explained": EXPLAINED,
    "Answers": {
        "type": "object",
        "required": ["predictions"],
        "properties": {
            "predictions": {
                "type": "array",
                "items": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/Answer"},
                        {"$ref": "#/components/schemas/Error"},
                    ]
                },
            }
        },
    },
    "Error": ERROR,
    "Model": MODEL,
    "Ranked": RANKED,
}

WRONG = {
    400: "The request is wrong.",
    401: "The token is missing or wrong.",
    403: "Sent by a page of another site.",
    404: "There is no such model.",
    405: "Not by this method.",
    408: "The body came too slowly.",
    413: "More than is read here.",
    415: "This content type is not read.",
    421: "Not how this server is called.",
    422: "The example cannot be read.",
    503: "Too much is asked of this server; Retry-After tells when to try again.",
}
USUAL = (401, 403, 405, 421)


def document(models: Models, token: bool) -> dict[str, Any]:
    """The whole description; with a token that is needed."""
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Regraft", "version": __version__, "description": "Trained models."},
        "paths": _paths(models),
        "components": {"schemas": SCHEMAS},
    }
    if token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


def _paths(models: Models) -> dict[str, Any]:
    name: Schema = {"name": "name", "in": "path", "required": True, "schema": TEXT}
    model = {"$ref": "#/components/schemas/Model"}
    card = _get("Its model card.", TEXT, 404, kind="text/markdown")
    several: Schema = {
        "type": "object",
        "properties": {"models": {"type": "array", "items": model}},
    }
    return {
        "/v1/predict": {"post": _predict(models)},
        "/v1/explain": {"post": _explain(models)},
        "/v1/models": {"get": _get("The models that are served.", several)},
        "/v1/models/{name}": {"get": {**_get("One model.", model, 404), "parameters": [name]}},
        "/v1/models/{name}/card": {"get": {**card, "parameters": [name]}},
        "/healthz": {"get": _get("Whether the server runs.", {"type": "object"})},
        "/readyz": {"get": _get("Whether it answers.", {"type": "object"}, 503)},
        "/metrics": {"get": _get("Figures for Prometheus.", TEXT, kind="text/plain")},
        "/openapi.json": {"get": _get("This description.", {"type": "object"})},
    }


def _predict(models: Models) -> dict[str, Any]:
    top = {"type": "integer", "minimum": 1, "maximum": MOST_TOP, "default": TOP}
    answers = [{"$ref": f"#/components/schemas/{n}"} for n in ("Answer", "Answers")]
    return {
        "summary": "What a model says of an example, or of several.",
        **_asked(models, {"top": top}, FIELDS),
        "responses": _answered("The answer; for a list one for each example.", {"anyOf": answers}),
    }


def _explain(models: Models) -> dict[str, Any]:
    """As a prediction, of one example, with another answer."""
    answer = {"$ref": "#/components/schemas/Explained"}
    return {
        "summary": "What the answer for one example rests on.",
        **_asked(models, {}, OF_ONE),
        "responses": _answered("By parts.", answer),
    }


def _asked(models: Models, more: dict[str, Schema], fields: Iterable[str]) -> dict[str, Any]:
    types = dict.fromkeys(kind for one in models.values() for kind in types_of(one.now))
    settings: dict[str, Schema] = {"model": {"type": "string", "enum": list(models)}, **more}
    bodies: dict[str, Any] = {kind: {} for kind in types if kind != ANYTHING}
    given = [_only(field, {field: GIVEN[field], **settings}) for field in fields]
    bodies |= {ANYTHING: {}, JSON: {"schema": {"oneOf": given}}}
    return {
        "parameters": [
            {"name": name, "in": "query", "schema": schema} for name, schema in settings.items()
        ],
        "requestBody": {"required": True, "content": bodies},
    }


def _answered(description: str, schema: Schema) -> dict[str, Any]:
    found = {"description": description, "content": {JSON: {"schema": schema}}}
    return {"200": found, **_wrong(400, 404, 408, 413, 415, 422, 503, *USUAL)}


def _get(summary: str, schema: Schema, *wrong: int, kind: str = JSON) -> dict[str, Any]:
    found = {"description": summary, "content": {kind: {"schema": schema}}}
    return {"summary": summary, "responses": {"200": found, **_wrong(*wrong, *USUAL)}}


def _wrong(*statuses: int) -> dict[str, Any]:
    return {str(status): _failure(status) for status in _sorted(statuses)}


def _sorted(statuses: Iterable[int]) -> list[int]:
    return sorted(set(statuses))


def _failure(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": WRONG[status], "content": {JSON: {"schema": schema}}}
