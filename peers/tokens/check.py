#!/usr/bin/env python3
"""Judges Placet's tokens with nothing of Placet's: the guide's own verifier on joserfc, and authlib's RFC 9068 validator.

    .peers/tokens/bin/python peers/tokens/check.py MODULE CASES     exit status 0: all as expected

MODULE is the Python block of docs/guides/protect-a-tool.md; CASES what crates/verify/tests/it/peers.rs wrote.
"""

import importlib.util
import json
import sys

from authlib.oauth2.rfc6750.errors import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator

spec = importlib.util.spec_from_file_location("placet_calls", sys.argv[1])
guide = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guide)
with open(sys.argv[2]) as file:
    cases = json.load(file)

failed = []


def check(what, ok):
    if not ok:
        failed.append(what)


def first_use():
    used = set()

    def first(jti, forget_at):
        return not (jti in used or used.add(jti))

    return first


def verifier():
    return guide.Calls(
        keys=cases["keys"],
        issuer=cases["issuer"],
        audience=cases["audience"],
        url=cases["url"],
        first_use=first_use(),
    )


def let_in(calls, case):
    try:
        return calls.check(case["method"], case["headers"], case["body"].encode())
    except guide.Refused:
        return None


for case in cases["calls"]:
    # One that has the right token next shows that a refusal doesn't use it up.
    calls = verifier()
    claims = let_in(calls, case)
    check(case["why"], (claims is not None) == case["good"])
    if case["good"]:
        check("the person", claims["sub"] == "maya")
        check("the agent", claims["act"]["sub"] == "agent-7")
        check("used twice", let_in(calls, case) is None)


class Validator(JWTBearerTokenValidator):
    def get_jwks(self):
        return cases["keys"]


# The validator knows joserfc's recommended algorithms, and EdDSA isn't among them.
known = all(key["kty"] == "EC" for key in cases["keys"]["keys"])
for case in cases["workflow"] if known else []:
    validator = Validator(issuer=cases["issuer"], resource_server=cases["gateway"])
    try:
        token = validator.authenticate_token(case["token"])
        validator.validate_token(token, [], None)
        ok = token["client_id"] == "agent-7" and token["cnf"]["jkt"] == case["jkt"]
    except InvalidTokenError:
        ok = False
    check("authlib: " + case["why"], ok == case["good_bearer"])

print(f"{len(cases['calls'])} calls, {len(cases['workflow'])} workflow tokens")
for what in failed:
    print("FAIL", what)
sys.exit(1 if failed else 0)
