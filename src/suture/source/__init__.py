"""Where source and binaries come from: the archive's deb-src and .deb, quilt series, fixes, build-ids."""
