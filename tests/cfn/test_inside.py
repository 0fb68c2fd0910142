"""cfn/verify looks from inside a task, where ECS Exec is on."""

from __future__ import annotations

import os
import pty
import subprocess

from stub import SCRIPTS, stub  # noqa: F401

SAID = (
    "\r\nThe Session Manager plugin was installed successfully. Use the AWS CLI to start a session.\r\n\r\n\r\n"
    "Starting session with SessionId: ecs-execute-command-1\r\n"
    "pass  dns           169.254.169.253:53: answers queries for A in 1.2ms\r\n"
    "warn  clock         not compared with 169.254.169.123:123: no answer within 2 s\r\n      help: name a time server\r\n"
    "fail  destination   orders.example.com by tls: 10.0.3.7 is never dialled\r\n      help: is the private hosted zone associated?\r\n"
    "1 pass, 1 warn, 1 fail\r\n\r\n\r\nExiting session with sessionId: ecs-execute-command-1.\r\n"
)


def verify(stub):  # noqa: F811
    """With a terminal, as ECS Exec wants it."""
    ours, theirs = pty.openpty()
    try:
        return subprocess.run([SCRIPTS / "verify"], env=stub.env, capture_output=True, text=True, timeout=120, stdin=theirs, cwd=stub.directory)
    finally:
        os.close(ours)
        os.close(theirs)


def with_exec(stub, said):  # noqa: F811
    stub.fleet({"EnableExec": "true"})
    stub.answer("list-tasks", "arn:aws:ecs:us-east-1:1:task/cluster/1")
    stub.answer("execute-command", said)
    stub.tool("session-manager-plugin", "exit 0")


def test_a_fault_that_only_a_task_sees_is_wrong(stub):  # noqa: F811
    with_exec(stub, SAID)
    done = verify(stub)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "WRONG from inside: destination   orders.example.com by tls: 10.0.3.7 is never dialled\n      help: is the private hosted zone associated?\n" in done.stdout
    assert "?     from inside: clock         not compared" in done.stdout
    assert "ok    a task was examined from inside: 1 pass, 1 warn, 1 fail" in done.stdout
    call = next(call for call in stub.calls() if "execute-command" in call)
    assert "--task arn:aws:ecs:us-east-1:1:task/cluster/1 --container latticegate" in call and "/latticegate doctor --config /etc/latticegate/latticegate.yaml" in call


def test_a_sound_task_is_well_and_a_session_that_breaks_is_not_called_so(stub):  # noqa: F811
    with_exec(stub, "pass  dns           answers\r\n1 pass, 0 warn, 0 fail\r\n")
    done = verify(stub)
    assert done.returncode == 0 and "examined from inside: 1 pass" in done.stdout, done.stdout + done.stderr
    stub.answer("execute-command", "Starting session\r\n\r\nCannot perform start session: EOF\r\n")
    done = verify(stub)
    assert done.returncode == 0 and "was not heard to its end" in done.stdout and "was examined" not in done.stdout
    stub.error("execute-command", "TargetNotConnectedException")
    done = verify(stub)
    assert done.returncode == 0 and "?     what a task sees from inside cannot be seen" in done.stdout


def test_without_a_terminal_the_command_is_given(stub):  # noqa: F811
    with_exec(stub, SAID)
    done = stub.run("verify")
    assert done.returncode == 0 and "--interactive --command '/latticegate doctor --config /etc/latticegate/latticegate.yaml'" in done.stdout, done.stdout
    assert not any("execute-command" in call for call in stub.calls())


def test_where_exec_is_off_nobody_looks(stub):  # noqa: F811
    done = verify(stub)
    assert done.returncode == 0 and "inside" not in done.stdout
