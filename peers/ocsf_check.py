"""Checks events by others' validators: OCSF's own schema (ocsf-json-schema), and the messages of OTLP (opentelemetry-proto).

    ocsf_check.py ocsf < events.jsonl     every line is an event of the class and version that it names
    ocsf_check.py otlp < bodies.jsonl     every line is an ExportLogsServiceRequest

Prints how many of each class there were, as JSON; exit 1 and the first problems on standard error.
"""

import collections
import json
import sys

CATEGORIES = {2: "findings", 3: "iam", 6: "application"}


def ocsf(lines):
    from jsonschema import Draft202012Validator
    from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

    schemas, validators = {}, {}
    problems, counts = [], collections.Counter()
    for number, line in enumerate(lines, 1):
        event = json.loads(line)
        version = event["metadata"]["version"]
        profiles = tuple(event["metadata"].get("profiles", []))
        if version not in schemas:
            schemas[version] = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
        name = schemas[version].lookup_class_name_from_uid(event["class_uid"])
        key = (version, name, profiles)
        if key not in validators:
            validators[key] = Draft202012Validator(schemas[version].get_class_schema(name, profiles=list(profiles)))
        for error in validators[key].iter_errors(event):
            problems.append(f"line {number} ({name}): /{'/'.join(map(str, error.absolute_path))}: {error.message}"[:300])
        if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
            problems.append(f"line {number}: type_uid")
        if event["class_uid"] // 1000 != event["category_uid"]:
            problems.append(f"line {number}: category_uid")
        counts[name] += 1
    return problems, counts


def otlp(lines):
    from google.protobuf import json_format
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    problems, counts = [], collections.Counter()
    for number, line in enumerate(lines, 1):
        try:
            request = json_format.Parse(line, ExportLogsServiceRequest())
        except json_format.ParseError as error:
            problems.append(f"line {number}: {error}")
            continue
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    if not record.time_unix_nano or not record.severity_number:
                        problems.append(f"line {number}: a record without time or severity")
                    counts[record.event_name] += 1
    return problems, counts


def main():
    check = {"ocsf": ocsf, "otlp": otlp}[sys.argv[1]]
    problems, counts = check([line for line in sys.stdin if line.strip()])
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    print(json.dumps(counts))
    sys.exit(1 if problems else 0)


main()
