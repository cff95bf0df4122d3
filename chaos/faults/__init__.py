"""One exact way to break the path per file; the file's name is the YAML key. Files that begin with `_` are shared.

A fault is a frozen dataclass whose fields are its parameters, with one method, `inject(lab)`: arm it, yield what
tells its hits and its proof (model.Armed), and undo it on leaving.
"""
