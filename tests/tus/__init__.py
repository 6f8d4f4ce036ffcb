"""CDN3's programs as running processes, tusd's calls of the hook, and the npm packages of a real tus server."""
