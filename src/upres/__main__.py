"""`python -m upres`, the same as the command `upres`."""

from upres.cli import main

main()
