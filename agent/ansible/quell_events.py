# The events of one ansible-playbook, as JSON lines on an inherited file descriptor.
#
# Quell's agent writes this file out and reads what it emits (event.go holds the other half of the format). The number
# of the descriptor stands in QUELL_EVENTS_FD; without it the plugin does nothing at all, so that an ansible-playbook
# that a task starts in turn stays silent. Nothing in here may ever disturb the playbook: every hook swallows its own
# errors, and a reader that has gone is ignored. Task arguments are never emitted, and of a task with no_log only that it
# was censored.
#
# A line is at most PIPE_BUF (4096) bytes and is written by one os.write, which is atomic on a pipe: Ansible calls the hooks
# from more than one thread, and no lock is needed that a forked worker could inherit while it is held.

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = """
    name: quell_events
    type: notification
    short_description: JSON events for Quell's agent
    description:
      - Writes one JSON line an event to the file descriptor that the environment variable QUELL_EVENTS_FD names.
"""

import errno
import functools
import json
import os
import time

from ansible.plugins.callback import CallbackBase

MAX_LINE = 4096
MAX_NAME = 256
MAX_MESSAGE = 2048
CENSORED = "censored (no_log)"


def quietly(hook):
    """Keeps whatever goes wrong in a hook away from Ansible."""

    @functools.wraps(hook)
    def wrapper(self, *args, **kwargs):
        if self._fd is None:
            return
        try:
            hook(self, *args, **kwargs)
        except Exception:
            pass

    return wrapper


def to_str(value):
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    elif not isinstance(value, str):
        try:
            value = json.dumps(value, default=str)
        except Exception:
            value = str(value)
    # A lone surrogate cannot be encoded.
    return value.encode("utf-8", "replace").decode("utf-8")


def clip(value, limit):
    """The value as a string of at most limit bytes of UTF-8."""
    text = to_str(value).strip()
    raw = text.encode("utf-8")
    if len(raw) <= limit:
        return text
    return raw[: limit - 3].decode("utf-8", "ignore") + "\u2026"


def field(result, name):
    """An attribute of a task result: public since ansible-core 2.19, with an underscore before."""
    try:
        return getattr(result, name)
    except AttributeError:
        return getattr(result, "_" + name)


def count_tasks(entries):
    """The tasks that a play runs when nothing fails: rescue sections and Ansible's own (implicit) tasks left out."""
    total = 0
    for entry in entries:
        if hasattr(entry, "block"):
            total += count_tasks(entry.block) + count_tasks(getattr(entry, "always", None) or [])
        elif not getattr(entry, "implicit", False):
            total += 1
    return total


def failure_message(data):
    """Why a task failed, in one string, without the arguments that it was given."""
    if "censored" in data:
        return CENSORED
    items = data.get("results")
    if isinstance(items, list):
        for item in items:
            if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
                if item.get("_ansible_no_log"):
                    return CENSORED
                return failure_message(dict((k, v) for k, v in item.items() if k != "results"))
    parts = []
    message = data.get("msg")
    if message:
        parts.append(to_str(message).strip())
    if data.get("rc") not in (None, 0):
        parts.append("exit code %s" % to_str(data["rc"]))
    for key in ("stderr", "module_stderr"):
        # The end of what a command said names its error; the start of it rarely does.
        tail = to_str(data.get(key) or "").strip()
        if tail:
            parts.append(tail[-1000:])
            break
    return ": ".join(parts)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "quell_events"

    def __init__(self, *args, **kwargs):
        super(CallbackModule, self).__init__(*args, **kwargs)
        self._fd = None
        self._play = ""
        try:
            # Taken out of the environment, and not to be inherited by anything that a task starts.
            fd = int(os.environ.pop("QUELL_EVENTS_FD", ""))
            os.fstat(fd)
            os.set_inheritable(fd, False)
            os.set_blocking(fd, True)
            self._fd = fd
        except (ValueError, OSError):
            pass

    def _emit(self, event, **fields):
        record = {"event": event, "ts": round(time.time(), 3)}
        record.update(fields)
        line = self._encode(record)
        if len(line) > MAX_LINE:
            # Escapes can double a text: its limit alone does not bound the line.
            for key, value in record.items():
                if key != "event" and isinstance(value, str):
                    record[key] = clip(value, 200)
            line = self._encode(record)
            if len(line) > MAX_LINE:
                return
        while True:
            try:
                os.write(self._fd, line)
                return
            except OSError as err:
                if err.errno == errno.EINTR:
                    continue
                if err.errno in (errno.EPIPE, errno.EBADF):
                    self._fd = None
                return

    @staticmethod
    def _encode(record):
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"

    @quietly
    def v2_playbook_on_start(self, playbook):
        total = 0
        try:
            total = sum(count_tasks(play.compile()) for play in playbook.get_plays())
        except Exception:
            pass  # The start itself must be seen; progress then stays at nought.
        self._emit("playbook_start", tasks=total)

    @quietly
    def v2_playbook_on_play_start(self, play):
        self._play = clip(play.get_name(), MAX_NAME)

    @quietly
    def v2_playbook_on_task_start(self, task, is_conditional):
        self._task_start(task, False)

    @quietly
    def v2_playbook_on_handler_task_start(self, task):
        self._task_start(task, True)

    def _task_start(self, task, handler):
        fields = {"task": clip(task.get_name(), MAX_NAME), "play": self._play}
        if handler:
            fields["handler"] = True
        self._emit("task_start", **fields)

    @quietly
    def v2_playbook_on_no_hosts_matched(self):
        self._emit("no_hosts_matched", play=self._play)

    @quietly
    def v2_runner_on_ok(self, result):
        changed = bool(field(result, "result").get("changed"))
        self._result(result, "changed" if changed else "ok")

    @quietly
    def v2_runner_on_skipped(self, result):
        self._result(result, "skipped")

    @quietly
    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._result(result, "failed", bool(ignore_errors))

    @quietly
    def v2_runner_on_unreachable(self, result):
        ignored = bool(getattr(field(result, "task"), "ignore_unreachable", False))
        self._result(result, "unreachable", ignored)

    def _result(self, result, status, ignored=False):
        fields = {
            "host": clip(field(result, "host").get_name(), MAX_NAME),
            "task": clip(field(result, "task").get_name(), MAX_NAME),
            "status": status,
        }
        if ignored:
            fields["ignored"] = True
        if status in ("failed", "unreachable"):
            fields["message"] = clip(failure_message(field(result, "result")), MAX_MESSAGE)
        self._emit("result", **fields)

    @quietly
    def v2_playbook_on_stats(self, stats):
        # One line a host, so that lines stay short however many hosts there are; "stats" closes them.
        hosts = sorted(stats.processed)
        for host in hosts:
            summary = stats.summarize(host)
            self._emit(
                "host_stats",
                host=clip(host, MAX_NAME),
                stats=dict(
                    (key, int(summary.get(key, 0)))
                    for key in ("ok", "changed", "failures", "unreachable", "skipped", "rescued", "ignored")
                ),
            )
        self._emit("stats", hosts=len(hosts))
