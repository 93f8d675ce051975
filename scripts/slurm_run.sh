#!/usr/bin/env bash
# Train and evaluate a recipe on one or more nodes: one torchrun a node, one process a GPU.
#
#   export COLBERT_ZERO_HOME=/a/folder/that/all/nodes/share
#   sbatch --nodes 1 scripts/slurm_run.sh "colbert:supervised" base     # 1 node
#   sbatch --nodes 8 scripts/slurm_run.sh c paper                       # 8 nodes x 4 GPUs, as in the paper
#
# Submit it from the activated environment. Two minutes before its time is up, and when a node fails or the job is
# preempted, the job goes back into the queue and resumes from its last checkpoint.
#SBATCH --job-name=colbert-zero
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail

: "${COLBERT_ZERO_HOME:?name a folder that all nodes share}"
recipe="${1:-c}"
profile="${2:-paper}"
seed="${3:-0}"
processes="${SLURM_GPUS_ON_NODE:-1}"
first_node="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"

export COLBERT_ZERO_HOME
export OMP_NUM_THREADS="$((${SLURM_CPUS_PER_TASK:-$processes} / processes))"

# A node that ends with an error ends the step on all of them.
srun --kill-on-bad-exit=1 torchrun \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node "$processes" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$first_node:${PORT:-29500}" \
  --rdzv-id "$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" \
  -m colbert_zero_lib run "$recipe" --profile "$profile" --seed "$seed" --quiet &
step=$!

again() {
  scontrol requeue "$SLURM_JOB_ID"
  kill -TERM "$step"
}
trap again USR1
# A signal ends the first wait early.
wait "$step" || true
trap - USR1
wait "$step"
