"""`python -m suture.cli`: the same as the `suture` command."""

import sys

from suture.cli.main import main

sys.exit(main())
