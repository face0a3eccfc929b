"""A host that keeps itself patched: an unprivileged part that fetches and decides, a privileged part that applies."""
