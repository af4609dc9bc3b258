"""Devices and processes: the mesh, how processes agree, how signals end a run."""
