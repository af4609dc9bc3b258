"""A finished run as one page with pictures, and several runs compared on one."""
