# The program sidrec in a container.
#   docker build -t sidrec .                                      for CPUs
#   docker build -t sidrec:cuda --build-arg EXTRAS=serve,cuda .   for NVIDIA GPUs
#   docker run -p 8000:8000 -v "$PWD/runs:/runs" -v "$PWD/token:/token:ro" sidrec \
#     serve /runs/demo --host=0.0.0.0 --token_file=/token
ARG PYTHON=3.13
FROM python:${PYTHON}-slim

ARG EXTRAS=serve
COPY . /src
RUN pip install --no-cache-dir "/src[${EXTRAS}]" && rm -rf /src

RUN useradd --create-home sidrec
USER sidrec
WORKDIR /home/sidrec
EXPOSE 8000
ENTRYPOINT ["sidrec"]
CMD ["--help"]
