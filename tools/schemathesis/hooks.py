"""What schemathesis has to know of this house, beyond the contracts."""

import json

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """A token of OAuth 2.0 travels as a bearer token (RFC 6750). Said so, schemathesis tries what happens without one, and with a wrong one."""
    for scheme in raw_schema.get("components", {}).get("securitySchemes", {}).values():
        if scheme["type"] == "oauth2":
            scheme.clear()
            scheme.update(type="http", scheme="bearer")


# Refusals of requests that are as the contract has them, because of what a schema cannot say.
RULES = {
    "invalid-cursor",  # it is opaque: ours, or refused
    "token-invalid",  # the one from the mail
    # Said in words only: in a released contract a pattern or a minLength would be a narrowing, which make breaking refuses.
    "idempotency-key-invalid",
    "idempotency-key-missing",  # a dry run has none, so a contract cannot ask for it
    "precondition-required",  # an If-Match that is there and empty
}

# What a schema can say. A field refused in one of these words, in a request that is as the contract has it: one of the two is wrong.
WORDS = {
    "type", "nullable", "required", "enum", "format", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
}  # fmt: skip


@schemathesis.check
def refused_by_a_rule(ctx, response, case):
    """A request that the contract allows is refused only by a rule that a schema cannot say."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 422, 428):
        return
    problem = json.loads(response.content)
    if "error" in problem:  # RFC 6749 has words of its own, for what its forms hold
        return
    if "%00" in response.request.url or b"\\u0000" in (response.request.body or b""):  # Postgres keeps no text with NUL, and no contract has to say so
        return
    if "None" in (case.path_parameters or {}).values():  # it follows a link from an answer's id that is null, and counts that as a good value
        return
    fields = {field["code"] for field in problem.get("errors", []) if field["pointer"] != "/password"}  # its length is a setting
    if problem["code"] in RULES or (response.status_code == 422 and not fields & WORDS):
        return
    raise AssertionError(f"the contract allows this and the server does not: {problem}")
