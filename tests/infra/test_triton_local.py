"""A real Triton: it answers as ONNX Runtime does, dies without a trace, comes back, says what is wrong."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from infra.local.errors import MissingToolError, ServerStartError
from infra.local.ports import LOOPBACK, free_ports
from infra.local.triton import SHARED_MEMORY, TritonServer, complaints, perf_analyzer, start_triton
from infra.local.triton_installation import TritonInstallation, check_platform, find_libpython, install_triton
from tests.conftest import REPOSITORY, TritonServers
from tests.integration.harness import wait_until

Samples = npt.NDArray[np.int16]
Scores = npt.NDArray[np.float32]

NAME, WIDTH, LABELS, BATCH = "tiny", 400, 5, 8
DEADLINE_S = 30.0
UNANSWERED_S = 0.3
CONFIG = f"""
name: "{NAME}"
backend: "python"
max_batch_size: {BATCH}
input [ {{ name: "samples" data_type: TYPE_INT16 dims: [ {WIDTH} ] }} ]
output [ {{ name: "scores" data_type: TYPE_FP32 dims: [ {LABELS} ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""
MODEL = """
import os
import numpy
import onnxruntime
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        samples = triton.get_input_tensor_by_name(request, "samples").as_numpy()
        scores = self.session.run(["scores"], {"samples": samples})[0]
        return triton.InferenceResponse([triton.Tensor("scores", scores)])
"""
BROKEN = "raise RuntimeError('no ears')\n"
CHILD = """
import sys
from pathlib import Path
from infra.local.triton import start_triton
with start_triton(Path(sys.argv[1]), ["tiny"]) as triton:
    print(triton.pid, triton.plan.shared_memory_prefix, flush=True)
    sys.stdin.read()
"""
INSTALL = "from infra.local.triton_installation import install_triton; print(install_triton().home)"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one model that works."""
    return write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def triton(triton_installation: TritonInstallation, repository: Path) -> Iterator[TritonServer]:
    """One server for the tests that leave it as it was."""
    with start_triton(repository, [NAME]) as server:
        yield server


def test_it_answers_what_onnx_runtime_answers_to_the_bit(triton: TritonServer, repository: Path) -> None:
    session = onnxruntime.InferenceSession(repository / NAME / "1" / "model.onnx")
    for size in (1, 3, BATCH):
        samples = some_samples(size)
        expected = session.run(["scores"], {"samples": samples})[0]
        assert infer(triton, samples).tobytes() == expected.tobytes()


def test_it_says_its_metrics_and_leaves_its_repository_as_it_was(
    triton: TritonServer, repository: Path
) -> None:
    infer(triton, some_samples(1))
    with urllib.request.urlopen(triton.metrics_url, timeout=DEADLINE_S) as answer:  # noqa: S310
        assert f'nv_inference_request_success{{model="{NAME}"' in answer.read().decode()
    assert sorted(file.name for file in repository.rglob("*")) == [
        "1",
        "config.pbtxt",
        "model.onnx",
        "model.py",
        NAME,
    ]


def test_its_load_generator_drives_it(triton: TritonServer) -> None:
    program = perf_analyzer()
    done = subprocess.run(
        program.command("-m", NAME, "-u", triton.url, "-i", "grpc", "-p", "200", "-s", "90"),
        env={**os.environ, **program.environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S * 2,
    )
    assert "Throughput: " in done.stdout, done.stdout + done.stderr


def test_a_killed_server_leaves_nothing_and_comes_back_on_its_ports(
    triton_servers: TritonServers, repository: Path
) -> None:
    server = triton_servers(repository, [NAME])
    family, segments, answer = processes(server), shared_memory(server), infer(server, some_samples(1))
    assert len(family) == 2
    assert segments
    server.kill()
    _, alive = psutil.wait_procs(family, timeout=DEADLINE_S)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
    assert shared_memory(server) == []
    assert not server.running
    url = server.url
    server.start()
    assert server.url == url
    assert infer(server, some_samples(1)).tobytes() == answer.tobytes()


def test_a_stopped_server_leaves_nothing(triton_servers: TritonServers, repository: Path) -> None:
    server = triton_servers(repository, [NAME])
    family = processes(server)
    assert server.stop()
    assert [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert shared_memory(server) == []


def test_a_server_and_its_models_do_not_outlive_a_killed_parent(
    triton_installation: TritonInstallation, repository: Path, tmp_path: Path
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(repository)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid, prefix = parent.stdout.readline().split()
        server = psutil.Process(int(pid))
        family = [server, *server.children()]
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=DEADLINE_S)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
    wait_until(lambda: not list(SHARED_MEMORY.glob(f"{prefix}*")), "its shared memory gone")


def test_a_frozen_server_does_not_answer_and_a_thawed_one_does(
    triton_servers: TritonServers, repository: Path
) -> None:
    server = triton_servers(repository, [NAME])
    server.freeze()
    with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
        infer(server, some_samples(1), UNANSWERED_S)
    server.thaw()
    assert infer(server, some_samples(1)).shape == (1, LABELS)


def test_a_frozen_server_can_be_stopped_in_order(triton_servers: TritonServers, repository: Path) -> None:
    server = triton_servers(repository, [NAME])
    server.freeze()
    assert server.stop()


def test_two_at_once_do_not_disturb_each_other(triton: TritonServer, triton_servers: TritonServers) -> None:
    other = triton_servers(triton.plan.repository, [NAME])
    assert other.url != triton.url
    other.kill()
    assert infer(triton, some_samples(2)).shape == (2, LABELS)
    assert shared_memory(triton)


def test_a_model_that_does_not_load_is_named_with_its_reason(
    triton_servers: TritonServers, tmp_path: Path
) -> None:
    write_repository(tmp_path, "broken", BROKEN)
    with pytest.raises(ServerStartError, match=r"'broken' version 1: Internal: RuntimeError: no ears"):
        triton_servers(tmp_path, ["broken"])


def test_a_model_that_is_not_there_is_named(triton_servers: TritonServers, repository: Path) -> None:
    with pytest.raises(ServerStartError, match="'absent': model not found"):
        triton_servers(repository, ["absent"])


def test_a_tolerant_server_serves_what_it_can(triton_servers: TritonServers, tmp_path: Path) -> None:
    write_repository(write_repository(tmp_path), "broken", BROKEN)
    server = triton_servers(tmp_path, [NAME, "broken"], tolerant=True)
    with InferenceServerClient(server.url) as client:
        assert client.is_model_ready(NAME)
        assert not client.is_model_ready("broken")
        assert not client.is_server_ready()
    assert infer(server, some_samples(1)).shape == (1, LABELS)


def test_a_model_can_be_loaded_later_and_a_new_start_forgets_it(
    triton_servers: TritonServers, repository: Path
) -> None:
    server = triton_servers(repository)
    with InferenceServerClient(server.url) as client:
        assert not client.is_model_ready(NAME)
        client.load_model(NAME)
        assert client.is_model_ready(NAME)
    server.kill()
    server.start()
    with InferenceServerClient(server.url) as client:
        assert not client.is_model_ready(NAME)


def test_a_port_that_another_has_is_refused(triton_servers: TritonServers, repository: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerStartError, match=rf"cannot listen on 127\.0\.0\.1:{port}, which is taken"):
            triton_servers(repository, [NAME], http_port=port)


def test_an_option_that_triton_does_not_know_is_refused_in_its_words(
    triton_servers: TritonServers, repository: Path
) -> None:
    with pytest.raises(ServerStartError, match=r"output:\n.*unrecognized option '--louder'$"):
        triton_servers(repository, options=["--louder"])


def test_of_a_log_only_the_complaints_are_quoted() -> None:
    log = "I1121 fine\nE1121 bad\n\nAt:\n  model.py\n+---+\n| kws |\nerror: worse\n;\nW1121 hm\n"
    assert complaints(log) == "E1121 bad\nAt:\n  model.py\nerror: worse\n;"


def test_the_command_line_serves_a_repository_until_it_is_interrupted(
    triton_installation: TritonInstallation, repository: Path
) -> None:
    ports = dict(zip(("--grpc-port", "--http-port", "--metrics-port"), map(str, free_ports(3)), strict=True))
    options = [part for option in ports.items() for part in option]
    program = subprocess.Popen(
        [sys.executable, "-m", "infra.local", "triton", "--repository", str(repository), *options],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith(f"gRPC {LOOPBACK}:{ports['--grpc-port']}, ")
        with InferenceServerClient(f"{LOOPBACK}:{ports['--grpc-port']}") as client:
            assert client.is_model_ready(NAME)
        program.send_signal(signal.SIGINT)
        assert program.wait(DEADLINE_S) in (1, 130)


def test_processes_that_install_at_once_share_one_installation(
    triton_installation: TritonInstallation, tmp_path: Path
) -> None:
    environment = {**os.environ, "EARWITNESS_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", INSTALL]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, env=environment, text=True)
        for _ in range(2)
    ]
    homes = {each.communicate()[0].strip() for each in both}
    assert len(homes) == 1
    (server,) = map(Path, homes)
    assert sorted(each.name for each in server.parent.iterdir()) == ["install.lock", "server"]


def test_it_is_installed_once(triton_installation: TritonInstallation) -> None:
    written_ns = triton_installation.home.stat().st_ctime_ns
    assert install_triton() == triton_installation
    assert triton_installation.home.stat().st_ctime_ns == written_ns


def test_without_a_package_index_the_error_says_what_could_not_be_fetched(
    triton_installation: TritonInstallation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARWITNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ServerStartError, match=r"pip download failed(.|\n)*nvidia-pytriton==0\.7\.0"):
        install_triton()


def test_everything_that_cannot_be_made_ready_is_named(
    triton_installation: TritonInstallation, tmp_path: Path
) -> None:
    environment = {
        "PATH": str(tmp_path),
        "EARWITNESS_CACHE": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    command = [sys.executable, "-m", "infra.local", "install"]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    for name in ("Kafka", "Triton", "kcat", "sox"):
        assert re.search(rf"^{name}: .*(is needed|could not be fetched)", ended.stderr, re.MULTILINE), name


def test_a_python_without_its_shared_library_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match=r"libpython3\.\d+\.so.*apt-get install libpython3"):
        find_libpython([tmp_path])


@pytest.mark.parametrize(
    ("system", "machine", "libc"),
    [
        ("Darwin", "arm64", ("", "")),
        ("Linux", "aarch64", ("glibc", "2.39")),
        ("Linux", "x86_64", ("glibc", "2.31")),
        ("Linux", "x86_64", ("", "")),
    ],
)
def test_a_machine_that_nvidias_packages_do_not_run_on_is_refused(
    system: str, machine: str, libc: tuple[str, str]
) -> None:
    with pytest.raises(MissingToolError, match=rf"glibc 2\.35 or newer \(not {system} on {machine}"):
        check_platform(system, machine, libc)


def write_repository(folder: Path, name: str = NAME, model: str = MODEL) -> Path:
    version = folder / name / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(CONFIG.replace(f'"{NAME}"', f'"{name}"'), "utf-8")
    (version / "model.py").write_text(model, "utf-8")
    onnx.save(tiny_model(), version / "model.onnx")
    return folder


def tiny_model() -> onnx.ModelProto:
    weights = np.random.default_rng(1).standard_normal((WIDTH, LABELS)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["samples"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["real", "weights"], ["sums"]),
            helper.make_node("Sigmoid", ["sums"], ["scores"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("samples", TensorProto.INT16, ["batch", WIDTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", LABELS])],
        [numpy_helper.from_array(weights / 32768, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def some_samples(size: int) -> Samples:
    return np.random.default_rng(size).integers(-32768, 32768, (size, WIDTH), np.int16)


def infer(server: TritonServer, samples: Samples, timeout_s: float = DEADLINE_S) -> Scores:
    given = InferInput("samples", list(samples.shape), "INT16")
    given.set_data_from_numpy(samples)
    with InferenceServerClient(server.url) as client:
        asked = [InferRequestedOutput("scores")]
        answer = client.infer(NAME, [given], outputs=asked, client_timeout=timeout_s)
    scores: Scores = answer.as_numpy("scores")
    return scores


def processes(server: TritonServer) -> list[psutil.Process]:
    process = psutil.Process(server.pid)
    return [process, *process.children()]


def shared_memory(server: TritonServer) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"{server.plan.shared_memory_prefix}*"))
