#!/usr/bin/env python3
"""Asks Thetis for a backup over NATS and follows it to its end.

    pip install nats-py
    follow_backup.py nats://127.0.0.1:4222 prod s3:backups

Set THETIS_API_TOKEN where tokens are asked for. The exit status is 0 only if the backup ends DONE.
"""

import asyncio
import json
import os
import sys

import nats


async def command(client, cluster, kind, **fields):
    """Asks for something, and gives what the API answers to it."""
    message = {"version": "1", "kind": kind, **fields}
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("THETIS_API_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    subject = f"thetis.command.{cluster}.{kind}"
    answer = await client.request(subject, json.dumps(message).encode(), timeout=30, headers=headers)
    answer = json.loads(answer.data)
    if answer["status"] >= 300:
        raise SystemExit(f"{kind}: {answer['status']}: {answer['body']['message']}")
    return answer["body"]


async def main(url, cluster, location):
    client = await nats.connect(url)
    # Listen first, so that nothing is missed. Subjects end with the run's id.
    events = await client.subscribe("thetis.event.>")
    task = await command(client, cluster, "backup", properties={"location": [location]})
    run = task["run_id"]
    print(f"backup/{task['id']}, run {run}", flush=True)
    async for event in events.messages:
        kind, of = event.subject.split(".")[2], event.subject.rsplit(".", 1)[1]
        if of != run:
            continue
        print(kind, flush=True)
        if kind in ("run_ended", "refused"):
            break
    found = await command(client, cluster, "progress", type="backup", task=task["id"], run=run)
    print(found["run"]["status"], found["run"]["cause"])
    if found["progress"]:
        print(f"{found['progress']['uploaded']} of {found['progress']['size']} bytes uploaded")
    await client.close()
    return 0 if found["run"]["status"] == "DONE" else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    raise SystemExit(asyncio.run(main(*sys.argv[1:])))
