"""Makes the certificate of the broker and a key for each machine, with the rights that its role needs and no others.

    python docs/deploy/keys.py --out keys --host broker.example \\
        --camera ward-a=ward-1,ward-2 --camera ward-b=ward-3,ward-4 \\
        --describe gpu-1 --gateway desk --worker lab-1

Writes into the folder (0700): ``ca.pem`` (for every machine), ``server.pem`` and ``server.key`` (for the broker),
``keys.conf`` (included by nats.conf), and for each machine ``NAME.nk`` (0600), the file for ``--bus-nkey``.
``admin.nk`` is for ``mellm doctor --bus``, once, which makes the streams. A camera's node publishes under its own
cameras' subjects only; cameras that two nodes may take over from each other are named for both. Needs ``openssl`` and
the extra ``bus``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import nkeys

STREAMS = ("event", "evidence", "result", "control", "job")
BUCKETS = ("lease", "node", "asked", "job")


def word(name: str) -> str:
    """As :func:`mellm.engine.bus.base.word`."""
    return name.replace(".", "=")


def facts(prefix: str) -> list[str]:
    """Asking what there is."""
    names = [f"{prefix}_{stream}" for stream in STREAMS] + [
        f"KV_keys_{prefix}_{bucket}" for bucket in BUCKETS
    ]
    return [f"$JS.API.STREAM.INFO.{name}" for name in names] + [
        f"$JS.API.CONSUMER.INFO.{prefix}_{stream}.workers" for stream in ("evidence", "job")
    ]


def reads(prefix: str, *streams: str) -> list[str]:
    """Reading whole streams."""
    return [f"$JS.API.DIRECT.GET.{prefix}_{s}{more}" for s in streams for more in ("", ".>")]


def key(prefix: str, bucket: str, name: str, *, write: bool = True) -> list[str]:
    """A key, or ``>`` for all of a bucket."""
    stream = f"KV_keys_{prefix}_{bucket}"
    found = [f"$JS.API.DIRECT.GET.{stream}.$KV.keys_{prefix}_{bucket}.{name}"]
    return found + ([f"$KV.keys_{prefix}_{bucket}.{name}"] if write else [])


def work(prefix: str, stream: str) -> list[str]:
    """Taking work and saying what became of it."""
    name = f"{prefix}_{stream}"
    return [f"$JS.API.CONSUMER.MSG.NEXT.{name}.workers", f"$JS.ACK.{name}.>"]


def camera(prefix: str, node: str, cameras: list[str]) -> list[str]:
    """What a camera's node may say."""
    own = [
        f"{prefix}.{subject.format(word(name))}"
        for name in cameras
        for subject in ("event.{}.>", "evidence.{}.>", "control.{}", "live.{}.>")
    ]
    leases = [right for name in cameras for right in key(prefix, "lease", word(name))]
    others = reads(prefix, "event", "result", "control") + key(prefix, "node", word(node))
    return facts(prefix) + own + leases + others


def describe(prefix: str) -> list[str]:
    """What a describer may say."""
    return [
        *facts(prefix),
        f"{prefix}.result.>",
        *work(prefix, "evidence"),
        *reads(prefix, "result"),
        *key(prefix, "asked", ">"),
        *key(prefix, "node", ">"),  # as many processes as wanted share a describer's key
    ]


def gateway(prefix: str, node: str) -> list[str]:
    """What a gateway may say: it reads, orders withdrawals, and deletes what was withdrawn."""
    gone = [f"$JS.API.STREAM.MSG.DELETE.{prefix}_{stream}" for stream in ("event", "evidence", "result")]
    own = [f"{prefix}.control.>", *key(prefix, "node", word(node))]
    return [*facts(prefix), *own, *gone, *reads(prefix, "event", "evidence", "result", "control")]


def worker(prefix: str) -> list[str]:
    """What a worker may say."""
    own = [*key(prefix, "job", ">"), *key(prefix, "node", ">")]
    return [*facts(prefix), *work(prefix, "job"), *own]


def hears(prefix: str, role: str) -> list[str]:
    """Subjects that a role may subscribe to: answers, and bells."""
    bells = {
        "camera": ["result.>", "control.>"],
        "gateway": ["event.>", "control.>", "live.>"],
    }
    return [f"_INBOX_{prefix}.>"] + [f"{prefix}.{subject}" for subject in bells.get(role, [])]


def user(public: str, publish: list[str], subscribe: list[str]) -> str:
    """One entry of the broker's configuration."""

    def listed(subjects: list[str]) -> str:
        return "[" + ", ".join(f'"{subject}"' for subject in subjects) + "]"

    return (
        f"    {{ nkey: {public}, permissions: {{\n"
        f"        publish: {{ allow: {listed(publish)} }}\n"
        f"        subscribe: {{ allow: {listed(subscribe)} }} }} }}\n"
    )


def make_key(folder: Path, name: str) -> str:
    """A new key for a machine: the seed goes to its file, the public part is returned."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    path = folder / f"{name}.nk"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(seed)
    return bytes(nkeys.from_seed(bytearray(seed)).public_key).decode()


def openssl(*arguments: str | Path) -> None:
    """Run it, and show what it says only when it fails."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def certificates(folder: Path, host: str) -> None:
    """An authority of this installation's own, and the broker's certificate."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    openssl("req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-days", "3650", "-subj", "/CN=mellm bus")
    request, names = folder / "server.csr", folder / "server.ext"
    kind = "IP" if host.replace(".", "").isdigit() or ":" in host else "DNS"
    names.write_text(f"subjectAltName={kind}:{host},DNS:localhost,IP:127.0.0.1\n", encoding="utf-8")
    openssl("req", *curve, "-keyout", folder / "server.key", "-out", request, "-subj", f"/CN={host}")
    sign = ("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "825")
    openssl(*sign, "-extfile", names, "-out", folder / "server.pem")
    for left in (request, names):
        left.unlink()


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--host", required=True, help="name or address under which machines reach the broker")
    parser.add_argument("--prefix", default="mellm")
    parser.add_argument("--camera", action="append", default=[], metavar="NODE=CAMERA,…")
    for role in ("describe", "gateway", "worker"):
        parser.add_argument(f"--{role}", action="append", default=[], metavar="NODE")
    given = parser.parse_args(arguments)
    folder: Path = given.out
    folder.mkdir(mode=0o700, parents=True)
    os.umask(0o077)
    certificates(folder, given.host)
    prefix = given.prefix
    users = [user(make_key(folder, "admin"), [">"], [">"])]
    for node, _, cameras in (each.partition("=") for each in given.camera):
        rights = camera(prefix, node, [name for name in cameras.split(",") if name])
        users.append(user(make_key(folder, node), rights, hears(prefix, "camera")))
    for role in ("describe", "gateway", "worker"):
        for node in getattr(given, role):
            rights = {"describe": describe, "worker": worker}.get(role, lambda p, n=node: gateway(p, n))(
                prefix
            )
            users.append(user(make_key(folder, node), rights, hears(prefix, role)))
    cert, secret = folder.resolve() / "server.pem", folder.resolve() / "server.key"
    (folder / "keys.conf").write_text(
        f'tls {{\n  cert_file: "{cert}"\n  key_file: "{secret}"\n}}\n'
        f"authorization {{\n  users: [\n{''.join(users)}  ]\n}}\n",
        encoding="utf-8",
    )
    sys.stdout.write(
        f"{len(users)} keys in {folder}; copy each NAME.nk and ca.pem to its machine, ca.key to a safe\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
