#!/usr/bin/env python3
"""qmp.py SOCKET COMMAND...: runs COMMAND, a boot.sh line with -qmp unix:SOCKET,server=on,wait=off.

Each line "@@QMP {json}" that the guest prints goes to QEMU; replies and events are printed as
"@@QMP< {json}". A guest that needs the effect looks for it: there is no way back into the guest.
"""
import signal
import socket
import subprocess
import sys
import threading


def main() -> int:
    path, command = sys.argv[1], sys.argv[2:]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    monitor = None

    def replies() -> None:
        try:
            for line in monitor:
                print("@@QMP<", line.strip(), flush=True)
        except OSError:
            pass  # QEMU is gone

    for line in child.stdout:
        print(line, end="", flush=True)
        if not line.startswith("@@QMP {"):
            continue
        if monitor is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            monitor = connection.makefile("rw")
            threading.Thread(target=replies, daemon=True).start()
            monitor.write('{"execute":"qmp_capabilities"}\n')
        monitor.write(line[len("@@QMP ") :])
        monitor.flush()
    return child.wait()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main())
