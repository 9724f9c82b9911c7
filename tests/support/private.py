"""Files that only their owner may read, as files with secrets have to be."""


def written(path, content, mode=0o600):
    """Write text or bytes to ``path``, give it ``mode`` whatever the umask is, and return the path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path
