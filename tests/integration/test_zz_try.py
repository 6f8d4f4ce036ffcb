import time
from tests.graph.stack import load
from tests.integration.rendered_pod import Pods
def test_try(tmp_path):
    with Pods(tmp_path/"pods", load("dev"), 0) as pods:
        t=time.monotonic()
        store=pods.pod("cdn0-store").start()
        gate=pods.pod("cdn0-gate")
        print(gate.run("wait"))
        gate.start().wait_ready()
        print("gate", time.monotonic()-t)
        try: store.wait_ready()
        finally: print(store.text("cdn0-store"))
        print(gate.text("gate"))
        print("store", time.monotonic()-t)
        print(gate.containers["gate"].execute(["sh","-c","id; ls -la / /opt/flatline /tmp; cat /etc/hosts /proc/self/mounts; touch /x; ps ax; cat /opt/flatline/cdn0-credentials.json | wc -c; cat /proc/1/status | grep Cap"]))
