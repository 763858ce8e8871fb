"""The manifests of docs/kubernetes are what Kubernetes takes, and say the same in every place.

What stands in them is held against the schemas that Kubernetes publishes, unknown fields refused,
and against the models that Kubeflow generates from JobSet's; both come in packages of PyPI. What no
schema knows is checked by hand: that WORLD_SIZE is the number of pods, that MASTER_ADDR is the name
which the pod of rank 0 gets, that what is mounted is there, …
Ranks of the library that are given a pod's variables meet.
Usage: test_manifests.py PROGRAM FOLDER: payload/meet.cpp, compiled; and where the packages are, or
are installed to."""

import copy
import importlib
import pathlib
import shutil
import socket
import subprocess
import sys
import unittest

MANIFESTS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs/kubernetes"
PROGRAM, PACKAGES = (pathlib.Path(it).resolve() for it in
                     (sys.argv[1:] if len(sys.argv) == 3 else ("hosts_meet", "packages")))
REQUIRED = ["kubernetes-validate==1.37.0", "kubeflow-trainer-api==2.3.0"]
VERSIONS = ("1.33", "1.37")  # of Kubernetes: the first that the manifests are for, and a late one
SKIPPED = 77


def install() -> str:
    """Makes the packages importable. Returns why not, or nothing."""
    if not (PACKAGES / "complete").exists():
        shutil.rmtree(PACKAGES, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile",
                   "--disable-pip-version-check", "--retries", "1", "--timeout", "10",
                   "--target", PACKAGES, *REQUIRED]
        try:
            outcome = subprocess.run(command, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            return "pip takes too long"
        if outcome.returncode:
            return (outcome.stderr.strip().splitlines() or ["pip failed"])[-1]
        # Nearly all of the 120 MB are schemas of other versions.
        for schemas in (PACKAGES / "kubernetes_validate/kubernetes-json-schema").glob("v*"):
            if not schemas.name.startswith(tuple(f"v{version}." for version in VERSIONS)):
                shutil.rmtree(schemas)
        (PACKAGES / "complete").touch()
    sys.path.insert(0, str(PACKAGES))
    importlib.invalidate_caches()
    return ""


class Wrong(Exception):
    """What is wrong with a manifest."""


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


def check_by_schema(resource: dict, versions: tuple) -> None:
    import kubernetes_validate
    for version in versions:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Wrong(f"Kubernetes {version}: {error.message}") from None


def check_jobset_by_model(jobset: dict) -> None:
    """But for the Jobs in it. The model drops what it does not know, which then is missing."""
    from kubeflow_trainer_api.models import JobsetV1alpha2JobSet
    bare = copy.deepcopy(jobset)
    for entry in bare["spec"]["replicatedJobs"]:
        entry["template"] = {"spec": {"template": {}}}
    try:
        kept = JobsetV1alpha2JobSet.from_dict(bare).to_dict()
    except ValueError as error:
        raise Wrong(f"JobSet: {error}") from None
    expect(kept == bare, f"JobSet: of {bare} the model keeps {kept}")


def check_ranks(job: dict, subdomain: str, first_pod: str, claims: set) -> None:
    """That the Job's parts agree with each other."""
    spec = job["spec"]
    pod = spec["template"]["spec"]
    rank, = pod["containers"]
    env = {it["name"]: it.get("value") for it in rank["env"]}
    ports = {it["name"]: it["containerPort"] for it in rank["ports"]}
    volumes = {it["name"]: it for it in pod["volumes"]}
    mounts = {it["mountPath"]: it["name"] for it in rank["volumeMounts"]}
    fields = {it["name"]: it["valueFrom"]["fieldRef"]["fieldPath"] for it in rank["env"]
              if "valueFrom" in it}

    expect(spec["completionMode"] == "Indexed", "the Job is not Indexed")
    expect(spec["completions"] == spec["parallelism"], "not all ranks run at once")
    expect(env["WORLD_SIZE"] == str(spec["completions"]), "WORLD_SIZE is not the number of pods")
    expect(fields["RANK"] == "metadata.annotations['batch.kubernetes.io/job-completion-index']",
           "RANK is not the pod's index")
    expect(fields.get("ALLFOLD_JOB") == "metadata.labels['batch.kubernetes.io/controller-uid']",
           "ALLFOLD_JOB is not the Job's number")
    expect((env["LOCAL_RANK"], env["LOCAL_WORLD_SIZE"]) == ("0", "1"), "a pod is not one rank")
    expect(env["MASTER_ADDR"] == f"{first_pod}.{subdomain}", "MASTER_ADDR is not rank 0's pod")
    expect(env["MASTER_PORT"] == str(ports["rendezvous"]), "MASTER_PORT is not the port")
    expect(pod["restartPolicy"] == "Never", "a podFailurePolicy needs restartPolicy: Never")
    expect(spec["podReplacementPolicy"] == "Failed", "a podFailurePolicy replaces failed pods only")
    for rule in spec["podFailurePolicy"]["rules"]:
        named = rule.get("onExitCodes", {}).get("containerName", rank["name"])
        expect(named == rank["name"], f"a rule is about a container {named}")
    expect(set(mounts.values()) == set(volumes), "what is mounted is not what there is")
    shared = volumes[mounts["/dev/shm"]]["emptyDir"]
    expect(shared["medium"] == "Memory", "/dev/shm is no memory")
    expect(gibibytes(shared["sizeLimit"]) < gibibytes(rank["resources"]["limits"]["memory"]),
           "/dev/shm may take all memory")
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        expect(claim is None or claim in claims, f"there is no claim {claim}")


def gibibytes(quantity: str) -> int:
    expect(quantity.endswith("Gi"), f"{quantity} is not in Gi")
    return int(quantity[:-2])


def check(resources: list, versions: tuple = VERSIONS) -> None:
    """All that there is to check. Raises Wrong."""
    kinds = {it["kind"]: it for it in resources}
    claims = {it["metadata"]["name"] for it in resources if it["kind"] == "PersistentVolumeClaim"}
    for it in resources:
        if it["kind"] != "JobSet":
            check_by_schema(it, versions)
    if "JobSet" in kinds:
        jobset = kinds["JobSet"]
        check_jobset_by_model(jobset)
        expect(jobset["spec"]["network"]["enableDNSHostnames"], "the pods have no names")
        for entry in jobset["spec"]["replicatedJobs"]:
            name = f"{jobset['metadata']['name']}-{entry['name']}"
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
                   "spec": entry["template"]["spec"]}
            check_by_schema(job, versions)
            check_ranks(job, jobset["spec"]["network"]["subdomain"], f"{name}-0-0", claims)
    else:
        job, service = kinds["Job"], kinds["Service"]
        name = job["metadata"]["name"]
        expect(service["spec"]["clusterIP"] == "None", "the Service is not headless")
        expect(service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name},
               "the Service is not of the Job's pods")
        expect(job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"],
               "the pods' subdomain is not the Service")
        check_ranks(job, service["metadata"]["name"], f"{name}-0", claims)


def load(name: str) -> list:
    import yaml
    return list(yaml.safe_load_all((MANIFESTS / name).read_text()))


def pod_of(name: str) -> dict:
    """The pods' specification."""
    spec = load(name)[-1]["spec"]
    if "replicatedJobs" in spec:
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    return spec["template"]["spec"]


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


class Manifests(unittest.TestCase):
    def test_there_are_the_two_that_are_checked(self):
        self.assertEqual(sorted(it.name for it in MANIFESTS.glob("*.yaml")),
                         ["indexed-job.yaml", "jobset.yaml"])

    def test_indexed_job(self):
        check(load("indexed-job.yaml"))

    def test_jobset(self):
        check(load("jobset.yaml"))

    def test_ranks_meet_by_a_pods_variables(self):
        """In pods that are processes of this machine, so at another address and port."""
        for name in ("indexed-job.yaml", "jobset.yaml"):
            here = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
            ranks = []
            for index in range(4):
                fields = {"RANK": str(index), "ALLFOLD_JOB": "0f8c"}
                env = {it["name"]: it.get("value") or fields[it["name"]]
                       for it in pod_of(name)["containers"][0]["env"]}
                self.assertLessEqual(set(here), set(env))
                ranks.append(subprocess.Popen([PROGRAM], env={**env, **here}, text=True,
                                              stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            told = [it.communicate(timeout=60) for it in ranks]
            if ranks[0].returncode == SKIPPED:
                self.skipTest(told[0][0])
            self.assertEqual([it.returncode for it in ranks], [0] * 4, told)
            self.assertEqual(told[0][0].splitlines(),
                             [f"rank {rank} of 4, 0 of 1 on {socket.gethostname()}, by RANK and "
                              "WORLD_SIZE" for rank in range(4)])

    def assert_refused(self, name: str, spoil, expected: str):
        resources = load(name)
        spoil({it["kind"]: it["spec"] for it in resources})
        with self.assertRaisesRegex(Wrong, expected):
            check(resources, VERSIONS[-1:])

    def test_what_is_wrong_is_found_in_a_job(self):
        def container(kinds):
            return kinds["Job"]["template"]["spec"]["containers"][0]

        for spoil, expected in (
                (lambda it: it["Job"].update(completionmode="Indexed"), "completionmode"),
                (lambda it: it["Job"].update(completions="4"), "'4' is not"),
                (lambda it: it["Job"].pop("template"), "'template' is a required"),
                (lambda it: it["Job"]["podFailurePolicy"]["rules"][1].pop("action"), "'action'"),
                (lambda it: container(it)["resources"].update(limit={}), "limit"),
                (lambda it: it["Service"].update(publishNotReady=True), "publishNotReady"),
                (lambda it: it["PersistentVolumeClaim"].update(accessModes="all"), "'all'"),
                (lambda it: it["Job"].update(completions=5, parallelism=5), "WORLD_SIZE"),
                (lambda it: it["Job"].update(parallelism=2), "at once"),
                (lambda it: it["Service"]["selector"].clear(), "Job's pods"),
                (lambda it: it["Job"]["template"]["spec"].update(subdomain="other"), "subdomain"),
                (lambda it: container(it)["env"][4].update(value="train-1.train"), "MASTER_ADDR"),
                (lambda it: container(it)["env"].pop(), "ALLFOLD_JOB"),
                (lambda it: container(it)["env"][0].update(
                    valueFrom=container(it)["env"][6]["valueFrom"]), "RANK is not"),
                (lambda it: container(it)["ports"][0].update(containerPort=1), "MASTER_PORT"),
                (lambda it: container(it)["volumeMounts"].pop(), "mounted")):
            self.assert_refused("indexed-job.yaml", spoil, expected)

    def test_what_is_wrong_is_found_in_a_jobset(self):
        def job(kinds):
            return kinds["JobSet"]["replicatedJobs"][0]["template"]["spec"]

        for spoil, expected in (
                (lambda it: it["JobSet"].update(failurepolicy={}), "failurepolicy"),
                (lambda it: it["JobSet"]["failurePolicy"].update(maxRestart=3), "maxRestart"),
                (lambda it: it["JobSet"]["failurePolicy"].update(maxRestarts="3"), "valid integer"),
                (lambda it: it["JobSet"]["failurePolicy"]["rules"][0].pop("name"), "name"),
                (lambda it: job(it).update(backofflimit=0), "backofflimit"),
                (lambda it: job(it).pop("template"), "'template' is a required"),
                (lambda it: it["JobSet"]["network"].update(subdomain="other"), "MASTER_ADDR"),
                (lambda it: job(it).update(completions=5, parallelism=5), "WORLD_SIZE")):
            self.assert_refused("jobset.yaml", spoil, expected)


if __name__ == "__main__":
    reason = install()
    if reason:
        print(f"skipped: the schemas of Kubernetes can't be had: {reason}")
        sys.exit(SKIPPED)
    sys.argv[1:] = []
    unittest.main(verbosity=2)
