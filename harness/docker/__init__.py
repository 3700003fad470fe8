"""The backend `docker`: every node a container, every link through a relay in a container of its own."""
