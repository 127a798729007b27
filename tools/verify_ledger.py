#!/usr/bin/env python3
"""Verifies Placet ledgers from their bytes alone; written from docs/reference/ledger.md, sharing no code with Placet.

usage: verify_ledger.py [--key KEY] [--organisation NAME] DATA_DIR_OR_PACK...
KEY is whose checkpoints are believed: a C2SP verifier key, or a file with one or with a server's own key (32 bytes in
base64); by default DATA_DIR/keys/checkpoint.key. A pack says its key itself: give the one that you were told.
Exit status: 0 all hold, 1 one doesn't, 2 it could not be done. Needs Python 3.9 and `cryptography`.
"""
import argparse, base64, glob, hashlib, json, os, re, struct, sys, tarfile
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

sha = lambda *parts: hashlib.sha256(b"".join(parts)).digest()

def need(fine, what):
    if not fine:
        raise ValueError(what)

def read_key(text):
    text = (open(text).read() if os.path.exists(text) else text).strip()
    if text.count("+") >= 2 and len(text) > 44:
        return base64.b64decode(text.split("+", 2)[2])[1:]
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text)).public_key().public_bytes_raw()

def signed(note, name, keys):
    """The text of a note that one of `keys` signed as `name`, and which one."""
    text, _, signatures = note.rpartition("\n\n")
    for line in signatures.splitlines():
        _, signer, value = line.split(" ")
        value = base64.b64decode(value)
        for key in keys:
            if signer == name and value[:4] == sha(name.encode(), b"\n\x01", key)[:4]:
                Ed25519PublicKey.from_public_bytes(key).verify(value[4:], text.encode() + b"\n")
                return text + "\n"
    raise ValueError(f"{name}: not signed by a key that is believed")

def head(note, origin, keys):
    """Size and root of a checkpoint."""
    name, size, root, _ = signed(note, origin, keys).split("\n")
    need(name == origin, f"{origin}: the checkpoint is of another tree")
    return int(size), base64.b64decode(root)

def successors(notes, organisation, key):
    """The keys that follow from believing one: each handover is signed by the old and the new one."""
    keys, name = [key], f"placet/{organisation}/handover"
    for note in [note for note in notes if note.startswith(name + "\n")] * len(notes):
        fields = json.loads(note.split("\n")[1])
        old, new = read_key(fields["old"]), read_key(fields["new"])
        if (old in keys) != (new in keys):
            try:
                signed(note, name, [old]), signed(note, name, [new])
                keys.append(new if old in keys else old)
            except (ValueError, InvalidSignature):
                pass
    return keys

def root_of(leaves):
    """The root of an RFC 6962 tree, level by level: a node without a sibling goes up as it is."""
    while len(leaves) > 1:
        leaves = [sha(b"\x01", *leaves[i:i + 2]) for i in range(0, len(leaves) - 1, 2)] + leaves[len(leaves) & ~1:]
    return leaves[0]

def range_root(start, end, first, last, leaves, proof):
    """The root over start..end: leaves first..last are at hand, the roots of what lies outside are the proof."""
    if end <= first or start >= last:
        return next(proof)
    if end - start == 1:
        return next(leaves)
    middle = start + (1 << (end - start - 1).bit_length() - 1)
    left = range_root(start, middle, first, last, leaves, proof)
    return sha(b"\x01", left, range_root(middle, end, first, last, leaves, proof))

def follow(organisation, keys, permits, gaps, sequence, kind, tree, payload):
    """Effects follow their permits; gaps are signed."""
    record = json.loads(payload)
    need(record["v"] == 1, f"record {sequence}: version {record['v']}")
    if kind == 2 and record["decision"] == "permit":
        permits[sequence] = (record["id"], tree)
    elif kind == 3:
        permit = permits.pop(record["at"], None)
        need(permit == (record["decision"], tree), f"record {sequence}: the effect of no open permit")
    elif kind == 16:
        text = f"placet/{organisation}/gap\n" + payload[len('{"gap":'):payload.rindex(b',"note":')].decode() + "\n"
        need(signed(record["note"], f"placet/{organisation}/gap", keys) == text, f"record {sequence}: another gap is signed")
        gaps.append(f"gap at record {sequence}: restored {record['gap']['restored']}, nothing since {record['gap']['since']}")

def frame(data, at):
    """Length, flags, durable of a frame's header that checks out."""
    head, check = data[at:at + 16], 0x811C9DC5
    for byte in head[:5] + head[8:]:
        check = (check ^ byte) * 0x01000193 & 0xFFFFFFFF
    if len(head) == 16 and head[5:8] == ((check ^ check >> 24) & 0xFFFFFF).to_bytes(3, "little"):
        length, flags, durable = struct.unpack("<IB3xQ", head)
        return (length, flags, durable) if flags < 4 and 18 <= length <= 4 << 20 else None

def torn(data, at, sequence):
    """Whether a crash cut the write at `at`: its frame has a hole, and no later frame says that it was durable."""
    end, header = len(data.rstrip(b"\0")), frame(data, at)
    part, cut = data[at:at + ((16 + header[0] + 7) // 8 * 8 + 32 if header else 16)], 512 - at % 512
    sectors = [part[:cut]] + [part[i:i + 512] for i in range(cut, len(part), 512)]
    hole = any(s and not s.strip(b"\0") for s in sectors) or (not part[-8:].strip(b"\0") if header else end <= at + 16)
    for later in range(at, end - 24, 8):
        claim = frame(data, later)
        hole &= not (claim and struct.unpack_from("<Q", data, later + 16)[0] > claim[2] >= sequence)
    return hole

def journal(directory, visit):
    """Calls visit(sequence, kind, tree, payload, body) for each record, checked one by one and by the chain."""
    places = re.findall("^at (.+)$", open(note).read(), re.M) if os.path.exists(note := os.path.join(directory, "journal", "archived")) else []
    files = {os.path.basename(p)[:12]: p for place in [*places, os.path.dirname(note)] for p in glob.glob(os.path.join(glob.escape(place), "*.seg"))}
    sequence, link, ident, paths = 1, None, None, [files[first] for first in sorted(files)]
    for path in paths:
        data, name, at, entry = open(path, "rb").read(), os.path.basename(path), 512, []
        need(data[:16] == b"placetj1" + struct.pack("<II", 1, 0) and data[72:512] == sha(data[:72]) + bytes(408), f"{name}: its header")
        first, own, before = struct.unpack_from("<Q", data, 16)[0], data[24:40], data[40:72]
        need(first == sequence and ident in (None, own), f"{name}: records are missing before it, or it is another journal's")
        need(before == (link or sha(b"placet journal v1\n", own)), f"{name}: the chain breaks")
        ident, link = own, before
        while True:
            header, number, empty = frame(data, at), sequence + len(entry), not data[at:at + 8].strip(b"\0")
            if header and not empty:
                body, end = data[at + 16:at + 16 + header[0]], at + (16 + header[0] + 7) // 8 * 8
                cut = -4 - struct.unpack("<I", body[-4:])[0] if header[1] & 2 else len(body)
                chained = sha(b"\x02", entry[-1][1] if entry else link, data[at:at + 16], sha(b"\0", body[:cut]), sha(b"\x03", body[cut:-4]) if header[1] & 2 else b"")
                right = struct.unpack_from("<Q", body)[0] == number and chained == data[end:end + 32]
                if right and not data[at + 16 + header[0]:end].strip(b"\0"):
                    at, entry = end + 32, entry + [(body[:cut], chained)]
                    if not header[1] & 1:
                        for body, link in entry:
                            number, _, kind, width = struct.unpack_from("<QQBB", body)
                            visit(number, kind, body[18:18 + width].decode(), body[18 + width:], body)
                        sequence, entry = sequence + len(entry), []
                    continue
            end = empty and not entry and not data[at:].strip(b"\0")
            need(end or (path == paths[-1] and torn(data, at, number)), f"{name}, offset {at}, record {number}: altered or missing")
            break
    return sequence - 1

def verify_data(directory, key, organisation):
    files = [os.path.relpath(os.path.join(top, name), directory) for top, _, names in os.walk(directory) for name in names]
    read = lambda name: open(os.path.join(directory, name), encoding="utf-8").read()
    unescape = lambda name: re.sub("%(..)", lambda code: chr(int(code[1], 16)), name)
    notes = {unescape(name.split("/")[1]): read(name) for name in files if re.fullmatch("tree/[^/]+/checkpoint", name)}
    for tree, note in notes.items():
        organisation = organisation or note.split("\n")[0][len("placet/"):-len(tree) - 1]
    handovers = [read(name) for name in files if name.startswith("handover/")]
    keys = successors(handovers, organisation, read_key(key or os.path.join(directory, "keys/checkpoint.key")))
    heads = {tree: head(note, f"placet/{organisation}/{tree}", keys) for tree, note in notes.items()}
    permits, gaps, trees = {}, [], {}
    def visit(sequence, kind, tree, payload, body):
        follow(organisation, keys, permits, gaps, sequence, kind, tree, payload)
        trees.setdefault(tree, []).append(sha(b"\0", body))
    last = journal(directory, visit)
    for tree, (size, root) in heads.items():
        leaves = trees.get(tree, [])
        need(len(leaves) >= size, f"tree {tree} has {len(leaves)} records, {size} were signed")
        need(not size or root_of(leaves[:size]) == root, f"tree {tree}: its first {size} records aren't those that were signed")
    return gaps + [f"{last} records in {len(trees)} trees, {len(permits)} open permits"]

def verify_pack(path, key, organisation):
    with tarfile.open(path, "r:") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}
    manifest = json.loads(files.pop("manifest.json"))
    digests = {name: f"sha256:{sha(data).hex()}" for name, data in files.items()}
    need({file["path"]: file["sha256"] for file in manifest["files"]} == digests, "files aren't as the manifest says")
    organisation, records = organisation or manifest["organisation"], []
    handovers = [data.decode() for name, data in files.items() if name.startswith("handover/")]
    keys = successors(handovers, organisation, read_key(key or manifest["key"]))
    for part in manifest["trees"]:
        tree, first, last, leaves = part["tree"], part["from"], part["to"], []
        read = lambda name: files[f"trees/{part['directory']}/{name}"]
        size, root = head(read("checkpoint").decode(), f"placet/{organisation}/{tree}", keys)
        for line in read("records").split(b"\n")[:-1]:
            sequence, time, kind, payload = line.split(b" ", 3)
            fixed = struct.pack("<QQBB", int(sequence), int(time), int(kind), len(tree))
            leaves.append(sha(b"\0", fixed, tree.encode(), payload))
            records.append((int(sequence), int(kind), tree, payload))
        need(len(leaves) == last - first and last <= size, f"tree {tree}: {len(leaves)} records for {first} to {last}")
        proof = map(bytes.fromhex, read("proof").decode().split())
        need(size and range_root(0, size, first, last, iter(leaves), proof) == root, f"tree {tree}: the records aren't those that were signed")
        need(next(proof, None) is None, f"tree {tree}: its proof is too long")
    permits, gaps, whole = {}, [], all(part["from"] == 0 for part in manifest["trees"])
    for record in sorted(records) * whole:
        follow(organisation, keys, permits, gaps, *record)
    return gaps + [f"{len(records)} records in {len(manifest['trees'])} trees, as {organisation} signed them"]

parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("--key"), parser.add_argument("--organisation")
parser.add_argument("ledgers", nargs="+")
order, status = parser.parse_args(), 0
for path in order.ledgers:
    try:
        verify = verify_data if os.path.isdir(path) else verify_pack
        print(f"{path}: holds: " + "; ".join(verify(path, order.key, order.organisation)))
    except OSError as error:
        status = print(f"{path}: {error}", file=sys.stderr) or 2
    except Exception as error:  # bytes that can't be read as what they should be are wrong, whatever Python calls it
        status = print(f"{path}: DOES NOT HOLD: {type(error).__name__}: {error}") or max(status, 1)
sys.exit(status)
