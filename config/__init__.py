"""Plain data of a Flatline installation: settings, images, schemas and the services' constants. No resources."""
