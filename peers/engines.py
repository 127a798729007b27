"""Judges modules with OPA, and Cedar requests with cedarpy.

    engines.py rego|cedar < CASES > ANSWERS

CASES is a JSON list; ANSWERS has an answer for each. Exit status 2: it could not be done.

rego:  {"module": TEXT, "input": JSON, "now": NANOSECONDS} → {"is": JSON text of `data.corpus.result`},
       {"undefined": true} or {"denied": message}. Built-in errors are errors, as Placet has it.
cedar: {"policies": TEXT, "entities": JSON, "schema": TEXT, "request": {principal, action, resource, context}} →
       {"decision": "allow"|"deny", "reasons": [ids], "errors": how many}, {"invalid": message} where the policies don't
       fit the schema, or {"denied": message}.
"""

import json
import sys


def rego(case):
    from opa_bindings import OpaEngine, OpaError, OpaUndefinedError

    # What OPA itself writes, so that no number goes through Python's floats.
    driver = (
        "package driver\n"
        "answer := text if {\n"
        f"\ttext := json.marshal(data.corpus.result) with time.now_ns as {int(case['now'])}\n"
        "}\n"
    )
    with OpaEngine() as engine:
        try:
            engine.add_policy("corpus.rego", case["module"])
            engine.add_policy("driver.rego", driver)
            return {"is": engine.eval_document("driver.answer", case["input"])}
        except OpaUndefinedError:
            return {"undefined": True}
        except OpaError as error:
            return {"denied": error.message}


def cedar(case):
    import cedarpy

    result = cedarpy.validate_policies(case["policies"], case["schema"])
    if not result.validation_passed:
        return {"invalid": "; ".join(str(error) for error in result.errors)}
    try:
        answer = cedarpy.is_authorized(
            case["request"],
            case["policies"],
            json.dumps(case["entities"]),
            case["schema"],
        )
    except ValueError as error:
        return {"denied": str(error)}
    names = answer.diagnostics.id_annotations_by_reason
    if answer.decision == cedarpy.Decision.NoDecision:
        return {"denied": "; ".join(answer.diagnostics.errors)}
    return {
        "decision": answer.decision.value.lower(),
        "reasons": sorted(names.get(reason, reason) for reason in answer.diagnostics.reasons),
        "errors": len(answer.diagnostics.errors),
    }


def main():
    judge = {"rego": rego, "cedar": cedar}.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if judge is None:
        print(__doc__, file=sys.stderr)
        return 2
    json.dump([judge(case) for case in json.load(sys.stdin)], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
