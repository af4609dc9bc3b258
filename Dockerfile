# The program sidrec in a container.
#   docker build -t sidrec .                                            for CPUs
#   docker build -t sidrec:cuda --build-arg EXTRAS=serve,redis,cuda .   for NVIDIA GPUs
#   docker run -p 8000:8000 -v "$PWD/runs:/runs" -v "$PWD/token:/token:ro" sidrec \
#     serve /runs/demo --host=0.0.0.0 --token_file=/token
# The CUDA libraries come with JAX's wheels; the host needs its driver and `docker run --gpus all`.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim

ARG EXTRAS=serve,redis
COPY . /src
RUN pip install --no-cache-dir "/src[${EXTRAS}]" && rm -rf /src

# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
RUN useradd --create-home --uid 10001 sidrec
USER 10001
WORKDIR /home/sidrec
EXPOSE 8000
ENTRYPOINT ["sidrec"]
CMD ["--help"]
