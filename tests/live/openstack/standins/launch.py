"""Run the main function of an OpenStack program: ``launch.py NAME MODULE ARGUMENT... [+ ARGUMENT...]...``

Stands in for the start scripts of packages that hold nothing else. Several command lines, divided by ``+``, run one after
the other in forks of one interpreter, because loading these programs takes longer than running them.
"""
import importlib
import os
import sys


def command_lines(words):
    lines = [[]]
    for word in words:
        if word == "+":
            lines.append([])
        else:
            lines[-1].append(word)
    return lines


name, module, *words = sys.argv[1:]
main = importlib.import_module(module).main
first, *others = command_lines(words)
for line in others and [first] + others:
    child = os.fork()
    if child == 0:
        sys.argv = [name] + line
        sys.exit(main())
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("failed: " + " ".join([name] + line))
if not others:
    sys.argv = [name] + first
    sys.exit(main())
