"""Submit a run to a cluster as a job, follow it, and go on with it where its node was lost.

python examples/job_on_a_cluster.py --address http://127.0.0.1:8265 --run /shared/runs/a \\
    --command "irl train --data /shared/r2r --runners 16 --runner-resource rollout"
"""

import asyncio
import shlex
import sys
from pathlib import Path

import tyro
import yaml
from ray.job_submission import JobStatus, JobSubmissionClient

ROOT = Path(__file__).resolve().parent.parent


async def follow(client: JobSubmissionClient, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)


def main(
    command: str,
    run: str,
    address: str = "http://127.0.0.1:8265",
    python: str = "python",
    attempts: int = 3,
) -> None:
    """Train by `rayforge COMMAND --run RUN` on the cluster whose dashboard is at ADDRESS.

    The token is Ray's own: ~/.ray/auth_token and RAY_AUTH_MODE=token (docs/jobs.md). RUN lies on
    storage that all nodes share. A job that fails is submitted again with --resume.
    """
    client = JobSubmissionClient(address)
    environment = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())
    environment["working_dir"] = str(ROOT)  # without what .gitignore and .rayignore name
    for attempt in range(attempts):
        place = ["--resume", run] if attempt else ["--run", run]
        words = [python, "-m", "trainers.cli", *shlex.split(command), *place]
        job = client.submit_job(entrypoint=shlex.join(words), runtime_env=environment)
        asyncio.run(follow(client, job))
        status = client.get_job_status(job)
        print(f"{job}: {status.value}", flush=True)
        if status in (JobStatus.SUCCEEDED, JobStatus.STOPPED):
            return
    sys.exit(f"the job failed {attempts} times: {client.get_job_info(job).message}")


if __name__ == "__main__":
    tyro.cli(main)
