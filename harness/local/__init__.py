"""The backend `local`: every node a process on this machine, every link through a relay on loopback."""
