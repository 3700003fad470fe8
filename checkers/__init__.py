"""The oracle: checkers that read nothing but a recorded history, and import nothing of the harness or the mesh."""
