# The events of one ansible-playbook, as JSON lines on an inherited file descriptor, and its output, as a JSON file.
#
# Quell's agent writes this file out and reads what it emits (event.go and output.go hold the other half of the formats).
# The number of the descriptor stands in QUELL_EVENTS_FD and the path of the file in QUELL_OUTPUT_FILE; both are taken
# out of the environment, so that an ansible-playbook that a task starts in turn stays silent. Nothing in here may ever
# disturb the playbook: every hook swallows its own errors, and a reader that has gone is ignored. Task arguments are
# never emitted, and of a task with no_log only that it was censored; the output alone is what the playbook says it is.
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
      - Writes the fact C(output) of localhost, with the custom stats of the run over it, to the file that
        QUELL_OUTPUT_FILE names.
"""

import errno
import functools
import json
import math
import os
import time

from collections.abc import Mapping, Sequence, Set

from ansible.plugins.callback import CallbackBase

MAX_LINE = 4096
MAX_NAME = 256
MAX_MESSAGE = 2048
CENSORED = "censored (no_log)"

OUTPUT = "output"
MAX_OUTPUT = 4 << 20
# What stands in the file instead of an output that cannot be handed over.
OUTPUT_TOO_LARGE = "__quell_output_too_large"
OUTPUT_ERROR = "__quell_output_error"
LOCALHOST = ("localhost", "127.0.0.1", "::1")
SET_FACT = ("set_fact", "ansible.builtin.set_fact", "ansible.legacy.set_fact")


def quietly(hook):
    """Keeps whatever goes wrong in a hook away from Ansible."""

    @functools.wraps(hook)
    def wrapper(self, *args, **kwargs):
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


def plain(value):
    """The value as what JSON can hold: a fact comes from YAML, from templates and from modules, and holds anything."""
    kind = type(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if getattr(kind, "__ENCRYPTED__", False) or hasattr(kind, "_ciphertext"):
        # A vault value stays encrypted: as a string it would be its secret.
        return to_str(value._ciphertext)
    if isinstance(value, (bytes, bytearray)):
        return to_str(bytes(value))
    if isinstance(value, Mapping):
        return dict((key if isinstance(key, str) else to_str(key), plain(item)) for key, item in value.items())
    if isinstance(value, (Sequence, Set)):
        return [plain(item) for item in value]
    if hasattr(kind, "isoformat"):
        return value.isoformat()
    return str(value)


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
        # Where the fact `output` is kept, the host whose it is, what was seen of it, and whether that name has been
        # taken by a task's `register` since.
        self._variables = None
        self._output_host = None
        self._output_seen = None
        self._registered = False
        self._output_file = os.environ.pop("QUELL_OUTPUT_FILE", "")
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
        if self._fd is None:
            return
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
        self._variables = play.get_variable_manager()

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
        self._follow_output(result)
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
    def _follow_output(self, result):
        """Takes note of what a task does to the variable `output` of localhost."""
        host, task = field(result, "host"), field(result, "task")
        if host.get_name() not in LOCALHOST:
            return
        if task.register == OUTPUT:
            # From here on it is the result of a module, whose `status` and `msg` are not meant for the job.
            self._registered = True
        elif task.action in SET_FACT and OUTPUT in task.args:
            self._registered = False
            self._output_host = host
            data = field(result, "result")
            for item in data.get("results") or [data]:
                if isinstance(item, dict) and OUTPUT in item.get("ansible_facts", {}):
                    self._output_seen = item["ansible_facts"][OUTPUT]

    def _output_fact(self):
        """The fact `output` of localhost, whatever it is, or None."""
        if self._registered:
            return None
        # Ansible's own store of what set_fact has set is the only place that knows all of it: no callback sees the
        # result of a task with no_log. It is not public; should it move, the rest is the next best.
        facts = getattr(self._variables, "_nonpersistent_fact_cache", None)
        if isinstance(facts, Mapping):
            for name in LOCALHOST:
                if OUTPUT in facts.get(name, {}):
                    return facts[name][OUTPUT]
            return None
        try:
            if self._output_host is not None and OUTPUT not in self._variables.extra_vars:
                return self._variables.get_vars(host=self._output_host, include_hostvars=False)[OUTPUT]
        except Exception:
            pass
        return self._output_seen

    @quietly
    def _write_output(self, stats):
        if not self._output_file:
            return
        try:
            fact = self._output_fact()
            run = getattr(stats, "custom", {}).get("_run")
            if not isinstance(fact, Mapping) and not run:
                return
            output = dict(fact) if isinstance(fact, Mapping) else {}
            output.update(run or {})
            data = self._encode(plain(output))
            if len(data) > MAX_OUTPUT:
                data = self._encode({OUTPUT_TOO_LARGE: len(data)})
        except Exception as err:
            # The job must not go on as though there were none. The error's text may quote the output.
            data = self._encode({OUTPUT_ERROR: type(err).__name__})
        try:
            # In place as a whole, or not at all, and for the owner alone.
            temp = self._output_file + ".tmp"
            if os.path.lexists(temp):
                os.remove(temp)
            fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            os.replace(temp, self._output_file)
        except OSError as err:
            self._display.warning("Quell: the output of the playbook was not written: %s" % err.strerror)

    @quietly
    def v2_playbook_on_stats(self, stats):
        # Before the events, whose last one says that all is done.
        self._write_output(stats)
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
