"""The data volume's contract: paths, records, manifests, dataset definitions and the stage loop.

Standard library only, so that the host can plan and check a run in a fraction of a second, and so that
environments whose PyTorch versions cannot live together can share it.
"""

FORMAT_VERSION = 1
