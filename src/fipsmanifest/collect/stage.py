"""The collect stage: everything that a definition names, fetched and authenticated in parallel."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ..errors import FipsManifestError, Several
from ..model.artifact import Artifact
from ..model.definition import Definition, ImageArchive, Images, RpmFolder, RpmRepository, Source, Tarball
from . import image, imagearchive, rpmdirectory, rpmrepo, tarball
from .context import Context

#: Downloads at a time: enough to hide a server's latency, few enough to be a polite client.
PARALLEL = 6

Job = Callable[[], Artifact]


def collect(
    definition: Definition, context: Context, arrived: Callable[[Artifact], None] | None = None
) -> tuple[Artifact, ...]:
    """Return every artifact of ``definition``, in the order of kind and address.

    ``arrived`` is called with each as soon as it was fetched, so that work on it can begin. Raises what a single
    failure raises, or `Several`; what was fetched is kept in the cache.
    """
    artifacts: list[Artifact] = []
    failures: list[FipsManifestError] = []
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="collect") as pool:
        try:
            planning = [pool.submit(_jobs, source, definition, context) for source in definition.sources]
            running: set[Future[Artifact]] = set()
            for plan in planning:
                try:
                    running |= {pool.submit(job) for job in plan.result()}
                except FipsManifestError as error:
                    failures.append(error)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        artifact = future.result()
                    except FipsManifestError as error:
                        failures.append(error)
                        continue
                    artifacts.append(artifact)
                    if arrived is not None:
                        arrived(artifact)
        except BaseException:
            # Leaving the pool waits for its threads: downloads under way must give up first.
            context.http.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        raise failures[0] if len(failures) == 1 else Several(failures)
    return tuple(sorted(artifacts, key=lambda artifact: (artifact.kind, artifact.address, artifact.name)))


def _jobs(source: Source, definition: Definition, context: Context) -> list[Job]:
    match source:
        case RpmRepository():
            return rpmrepo.jobs(source, definition, context)
        case RpmFolder():
            return rpmdirectory.jobs(source, definition, context)
        case Tarball():
            return tarball.jobs(source, definition, context)
        case Images():
            return image.jobs(source, definition, context)
        case ImageArchive():
            return imagearchive.jobs(source, definition, context)
