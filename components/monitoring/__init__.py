"""What Prometheus and Grafana are told of an installation."""
