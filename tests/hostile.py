"""A name that is not kind to pages, tables and pictures."""

HOSTILE = '<script>alert("x")</script> & 🙂 \u202eشخص'
